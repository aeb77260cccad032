import { randomUUID } from 'node:crypto'
import { fail } from './errors.ts'

export type RecoveryModel = 'FULL' | 'BULK_LOGGED' | 'SIMPLE'
export type UserAccess = 'MULTI_USER' | 'SINGLE_USER' | 'RESTRICTED_USER'

/** A row, and when it was last written: a backup copies pages, and a restore overwrites them. */
export interface Page {
  readonly lsn: bigint
  /** JSON. Null: deleted. */
  readonly value: string | null
}

/** One committed change, checkpoint or marked transaction. */
export interface LogRecord {
  readonly lsn: bigint
  /** Local time of the server, ms. */
  readonly at: number
  readonly page?: number
  readonly value?: string | null
  readonly mark?: string
}

export interface DatabaseFile {
  readonly fileId: number
  readonly logicalName: string
  readonly physicalName: string
  readonly type: 'ROWS' | 'LOG'
  readonly sizeBytes: number
}

export interface DatabaseSettings {
  readonly name: string
  readonly id: number
  readonly createdAt: number
  readonly files: readonly DatabaseFile[]
  readonly recoveryModel: RecoveryModel
  readonly familyGuid?: string
  readonly paddingBytes?: number
  readonly firstLsn?: bigint
}

/** Where a roll forward stands. */
export interface RollForward {
  /** The next log record that is needed. */
  readonly lsn: bigint
  /** Time of the newest record that is applied. */
  readonly at: number
  /** The recovery path of that record. */
  readonly forkGuid: string
}

const BLOCK = 800_000n
const FIRST_LSN = 37_000_000_000_800_001n

export const newGuid = (): string => randomUUID().toUpperCase()

/** A database as far as backups are concerned: pages, a log, and where its chains stand. */
export class Database {
  name: string
  readonly id: number
  readonly createdAt: number
  readonly compatibilityLevel = 150
  readonly collation = 'SQL_Latin1_General_CP1_CI_AS'
  state: 'ONLINE' | 'RESTORING' | 'OFFLINE' = 'ONLINE'
  access: UserAccess = 'MULTI_USER'
  recoveryModel: RecoveryModel
  readonly familyGuid: string
  forkGuid = newGuid()
  /** Of a log that has not been backed up since: the path it left, and where. */
  leftFork: { readonly guid: string; readonly atLsn: bigint } | undefined
  files: readonly DatabaseFile[]
  pages = new Map<number, Page>()
  log: LogRecord[] = []
  /** Where the next log backup begins. Null: none can be made. */
  logChainLsn: bigint | null = null
  /** What a differential is based on. */
  differentialBase: { readonly lsn: bigint; readonly guid: string } | undefined
  /** Checkpoint LSN of the last full. */
  databaseBackupLsn = 0n
  checkpointLsn = 0n
  /** Bytes of no meaning that make backups larger. */
  readonly paddingBytes: number
  /** DBCC CHECKDB finds something. */
  damaged = false
  /** A full or a differential is being made. */
  busy = false
  rollForward: RollForward | undefined
  /** The LSN that the next record gets. */
  nextLsn: bigint
  #nextPage = 1

  constructor(settings: DatabaseSettings) {
    this.name = settings.name
    this.id = settings.id
    this.createdAt = settings.createdAt
    this.files = settings.files
    this.recoveryModel = settings.recoveryModel
    this.familyGuid = settings.familyGuid ?? newGuid()
    this.paddingBytes = settings.paddingBytes ?? 0
    this.nextLsn = settings.firstLsn ?? FIRST_LSN
  }

  rows(): unknown[] {
    const pages = [...this.pages].sort(([left], [right]) => left - right)
    return pages.flatMap(([, { value }]) => (value === null ? [] : [JSON.parse(value) as unknown]))
  }

  insert(row: unknown, at: number): void {
    this.#change(this.#nextPage++, JSON.stringify(row), at)
  }

  /** Deletes the rows that `matches` says yes to. */
  delete(matches: (row: unknown) => boolean, at: number): void {
    for (const [page, { value }] of [...this.pages])
      if (value !== null && matches(JSON.parse(value))) this.#change(page, null, at)
  }

  /** Commits a row in a transaction WITH MARK. Returns its LSN. */
  mark(name: string, row: unknown, at: number): bigint {
    return this.#change(this.#nextPage++, JSON.stringify(row), at, name)
  }

  checkpoint(at: number): bigint {
    this.checkpointLsn = this.append({ at }).lsn
    return this.checkpointLsn
  }

  append(record: Omit<LogRecord, 'lsn'>): LogRecord {
    const made = { ...record, lsn: this.nextLsn }
    this.nextLsn += BLOCK
    this.log.push(made)
    return made
  }

  /** Redo: applies a record unless its page has it already. */
  redo({ lsn, page, value }: LogRecord): void {
    if (page === undefined || value === undefined) return
    const before = this.pages.get(page)
    if (!before || before.lsn < lsn) this.pages.set(page, { lsn, value })
  }

  setRecoveryModel(model: RecoveryModel): void {
    this.recoveryModel = model
    if (model === 'SIMPLE') this.logChainLsn = null
  }

  /** Opens the database after a restore, on a recovery path of its own from here on. */
  recover(at: number): void {
    const { lsn, forkGuid } = this.rollForward ?? { lsn: this.nextLsn, forkGuid: this.forkGuid }
    this.rollForward = undefined
    this.state = 'ONLINE'
    this.nextLsn = lsn
    this.log = []
    this.leftFork = { guid: forkGuid, atLsn: lsn }
    this.forkGuid = newGuid()
    this.logChainLsn = this.recoveryModel === 'SIMPLE' ? null : lsn
    this.#nextPage = Math.max(0, ...this.pages.keys()) + 1
    this.checkpoint(at)
  }

  #change(page: number, value: string | null, at: number, mark?: string): bigint {
    if (this.state !== 'ONLINE') throw fail(927, `Database '${this.name}' cannot be opened.`, 14)
    const record = this.append({ at, page, value, ...(mark !== undefined && { mark }) })
    this.redo(record)
    return record.lsn
  }
}
