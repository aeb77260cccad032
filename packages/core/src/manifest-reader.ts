import type { CatalogEntry, Manifest } from './contracts/backup.ts'
import { BackupError, toBackupError } from './errors.ts'
import { readManifest } from './manifest.ts'
import { inOrder } from './pipeline/in-order.ts'
import type { BackupPlan } from './plan.ts'

/** Manifests that are read at the same time. */
const IN_FLIGHT = 16

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

  /** The manifests of `entries` in their order, several at a time; an error in the place of each that cannot be read. */
  readEach(entries: readonly CatalogEntry[]): AsyncGenerator<readonly [CatalogEntry, Manifest | BackupError]> {
    return inOrder(entries, IN_FLIGHT, async (entry) => {
      const read = await this.read(entry).catch((error: BackupError) => error)
      return [entry, read] as const
    })
  }

  /** The manifests of `entries` in their order. @throws the first error */
  async readAll(entries: readonly CatalogEntry[]): Promise<Manifest[]> {
    const all: Manifest[] = []
    for await (const [, read] of this.readEach(entries)) {
      if (read instanceof BackupError) throw read
      all.push(read)
    }
    return all
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

/** Whether a manifest could not be read because of what it is, not because a storage did not answer. */
export const isDamage = ({ code }: BackupError): boolean => code === 'MANIFEST_DAMAGED' || code === 'OBJECT_MISSING'
