import type { ServerClock } from './clock.ts'
import { Database, type DatabaseFile, type RecoveryModel } from './database.ts'
import { fail } from './errors.ts'

export interface NewDatabase {
  /** Default: FULL. */
  readonly recoveryModel?: RecoveryModel
  /** Bytes that make its backups larger. Default: 0. */
  readonly paddingBytes?: number
}

const EMPTY_BYTES = 8_388_608

/** The databases of a server. Names are compared without regard to case, as the usual collation does. */
export class Databases {
  readonly #all = new Map<string, Database>()
  readonly #clock: ServerClock
  readonly #paths: { readonly data: string; readonly log: string }
  #nextId = 5

  constructor(clock: ServerClock, paths: { readonly data: string; readonly log: string }) {
    this.#clock = clock
    this.#paths = paths
  }

  get all(): Database[] {
    return [...this.#all.values()]
  }

  find(name: string): Database | undefined {
    return this.#all.get(name.toLowerCase())
  }

  /** @throws 1801, 5170 */
  create(name: string, { recoveryModel = 'FULL', paddingBytes = 0 }: NewDatabase = {}): Database {
    const { data, log } = this.#paths
    const sizeBytes = Math.ceil((EMPTY_BYTES + paddingBytes) / 8192) * 8192
    const files: DatabaseFile[] = [
      { fileId: 1, logicalName: name, physicalName: `${data}${name}.mdf`, type: 'ROWS', sizeBytes },
      {
        fileId: 2,
        logicalName: `${name}_log`,
        physicalName: `${log}${name}_log.ldf`,
        type: 'LOG',
        sizeBytes: EMPTY_BYTES,
      },
    ]
    for (const { physicalName } of files)
      if (this.ownerOf(physicalName))
        throw fail(5170, `Cannot create file '${physicalName}' because it already exists.`)
    const id = this.nextId()
    const createdAt = this.#clock.localMs
    return this.add(new Database({ name, id, createdAt, files, recoveryModel, paddingBytes }))
  }

  nextId(): number {
    return this.#nextId++
  }

  /** @throws 1801 */
  add(database: Database): Database {
    this.#mustBeFree(database.name)
    this.#all.set(database.name.toLowerCase(), database)
    return database
  }

  /** @throws 1801 */
  rename(database: Database, name: string): void {
    if (name.toLowerCase() !== database.name.toLowerCase()) this.#mustBeFree(name)
    this.remove(database)
    database.name = name
    this.#all.set(name.toLowerCase(), database)
  }

  remove({ name }: Database): void {
    this.#all.delete(name.toLowerCase())
  }

  /** The database that a file belongs to. */
  ownerOf(path: string): Database | undefined {
    const same = path.toLowerCase()
    return this.all.find(({ files }) => files.some(({ physicalName }) => physicalName.toLowerCase() === same))
  }

  #mustBeFree(name: string): void {
    if (this.find(name) || ['master', 'msdb', 'model', 'tempdb'].includes(name.toLowerCase()))
      throw fail(1801, `Database '${name}' already exists. Choose a different database name.`)
  }
}
