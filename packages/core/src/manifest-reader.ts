import type { CatalogEntry, Manifest } from './contracts/backup.ts'
import { BackupError, toBackupError } from './errors.ts'
import { readManifest } from './manifest.ts'
import type { BackupPlan } from './plan.ts'

/** Reads each manifest once, from the first destination that has it whole. */
export class ManifestReader {
  readonly #plan: BackupPlan
  readonly #onDamage: (message: string) => void
  readonly #read = new Map<string, Promise<Manifest>>()

  /** `onDamage` is told about every copy that could not be used. */
  constructor(plan: BackupPlan, onDamage: (message: string) => void) {
    this.#plan = plan
    this.#onDamage = onDamage
  }

  read(entry: CatalogEntry): Promise<Manifest> {
    let reading = this.#read.get(entry.id)
    if (!reading) {
      reading = this.#readAnew(entry)
      this.#read.set(entry.id, reading)
    }
    return reading
  }

  async #readAnew(entry: CatalogEntry): Promise<Manifest> {
    let first: BackupError | undefined
    for (const { name, storage } of this.#plan.destinations) {
      if (!entry.destinations.includes(name)) continue
      try {
        return await readManifest(storage, this.#plan.name, entry.id)
      } catch (thrown) {
        const error = toBackupError(thrown, 'STORAGE_FAILED', `Cannot read the manifest of ${entry.id}`)
        this.#onDamage(`Destination ${name}: ${error.message}`)
        first ??= error
      }
    }
    throw first ?? new BackupError('BACKUP_NOT_FOUND', `There is no backup ${entry.id}.`)
  }
}
