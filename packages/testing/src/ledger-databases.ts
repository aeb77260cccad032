import { BackupError, type UndoRecord } from '@taskflow-backup/core'
import type { LedgerEntry } from './ledger-format.ts'

/** Where the live ledger is. */
export const LIVE = 'live'
export const ENGINE = 'ledger'

/** One ledger: what is live, or at a place. */
export interface Database {
  readonly timeline: number
  readonly entries: LedgerEntry[]
  /** Log backups can only begin here or later. */
  logFloor: number
}

/** The ledgers of one engine, by their places. */
export class LedgerDatabases {
  readonly #databases = new Map<string, Database>([[LIVE, { timeline: 1, entries: [], logFloor: 0 }]])
  #timelines = 1
  #names = 0

  live(): Database {
    const database = this.at(LIVE)
    if (!database) throw new BackupError('SOURCE_MISSING', 'The live ledger is gone.')
    return database
  }

  at(place: string): Database | undefined {
    return this.#databases.get(place)
  }

  places(): string[] {
    return [...this.#databases.keys()]
  }

  /** Puts a database beside `place`; tells where. */
  stage(place: string, database: Database): string {
    const location = `${place}.staged-${++this.#names}`
    this.#databases.set(location, database)
    return location
  }

  remove(place: string): void {
    this.#databases.delete(place)
  }

  /** Puts what is staged in the place of `target`, whose database is kept. */
  promote(staged: string, target: string): UndoRecord {
    const database = this.at(staged) as Database
    // The history goes another way from here: what was backed up before cannot be continued.
    const begun = target === LIVE ? { ...database, timeline: ++this.#timelines } : database
    return this.#move(staged, target, begun)
  }

  /** Brings back what was at `target` before it was replaced: what was kept, or nothing. */
  undo(target: string, kept: string | undefined): UndoRecord {
    if (kept === undefined) {
      if (!this.at(target)) throw new BackupError('UNDO_IMPOSSIBLE', `There is no ledger "${target}".`)
      return this.#move(target, target, undefined)
    }
    const database = this.at(kept)
    if (!database) throw new BackupError('UNDO_IMPOSSIBLE', `The kept ledger "${kept}" is gone.`)
    return this.#move(kept, target, database)
  }

  /** Puts what was at `from` in the place of `target`, or only takes that away; keeps what was there. */
  #move(from: string, target: string, incoming: Database | undefined): UndoRecord {
    const replaced = this.at(target)
    const kept = `${target}.kept-${++this.#names}`
    this.#databases.delete(from)
    if (incoming) this.#databases.set(target, incoming)
    if (replaced) this.#databases.set(kept, replaced)
    return { engine: ENGINE, target, ...(replaced && { kept }), promotedAt: new Date().toISOString() }
  }
}
