import type { BackupHeader } from '../../src/chain.ts'

/** One log record of the simulated database. */
export interface LogRecord {
  readonly id: number
  readonly lsn: bigint
  readonly time: number
  /** The recovery path on which it was written. */
  readonly fork: string
}

/** A backup of the simulated database, with what it really holds. */
export interface SimulatedBackup {
  readonly header: BackupHeader
  /** The whole history of the database when the backup ended, as far as it was not undone by restores. */
  readonly lineage: readonly LogRecord[]
  /** The full that a differential needs. */
  readonly base?: SimulatedBackup
}

/** What happens to the simulated database; numbers choose among possibilities. */
export type Event =
  | { readonly do: 'work'; readonly commits: number }
  | { readonly do: 'full' | 'copy-only full' | 'differential' | 'log' | 'copy-only log' }
  | { readonly do: 'restore'; readonly back: number }

/** A database that makes log records, is backed up, and now and then restored to an earlier moment. */
export class SimulatedDatabase {
  readonly backups: SimulatedBackup[] = []
  /** The state after each step: what a restore to a time must bring back. */
  readonly states: { readonly time: number; readonly lineage: readonly LogRecord[]; readonly fork: string }[] = []
  #lineage: LogRecord[] = []
  #time = Date.UTC(2026, 0, 31, 12)
  #nextId = 1
  #fork = 'fork-0'
  #forks = 1
  #seed: number

  constructor(seed: number) {
    this.#seed = seed
    this.#work()
  }

  run(events: readonly Event[]): void {
    for (const event of events) {
      if (event.do === 'work') for (let n = 0; n < event.commits; n += 1) this.#work()
      else if (event.do === 'restore') this.#restore(event.back)
      else this.#backup(event.do)
      this.#pass(60_000)
    }
  }

  get #end(): bigint {
    return (this.#lineage.at(-1)?.lsn ?? 1000n) + 1n
  }

  #work(): void {
    this.#pass(20_000)
    this.#lineage.push({
      id: this.#nextId++,
      lsn: this.#end + BigInt(this.#random(1_000_000)),
      time: this.#time,
      fork: this.#fork,
    })
    this.#remember()
  }

  #backup(what: 'full' | 'copy-only full' | 'differential' | 'log' | 'copy-only log'): void {
    const isLog = what.endsWith('log')
    const base = this.#lastFull(this.#lineage)
    if (what !== 'full' && !base) return
    const begin = this.#lineage.at(-1)?.lsn ?? 0n
    const startedAt = text(this.#time)
    // A data backup holds what was done while it ran; a log backup ends where it found the log.
    if (!isLog) for (let n = this.#random(3); n >= 0; n -= 1) this.#work()
    const lastLsn = this.#end
    const lineage = [...this.#lineage]
    this.#pass(3_000)
    const firstLsn = isLog ? this.#logBegin(lineage) : begin
    const crossing = isLog ? crossingOf(lineage, firstLsn) : undefined
    this.backups.push({
      lineage,
      ...(what === 'differential' && base && { base }),
      header: {
        kind: isLog ? 'log' : what === 'differential' ? 'differential' : 'full',
        database: 'Simulated',
        firstLsn,
        lastLsn,
        checkpointLsn: begin,
        databaseBackupLsn: base?.header.checkpointLsn ?? 0n,
        copyOnly: what.startsWith('copy-only'),
        firstForkGuid: crossing?.from ?? this.#fork,
        lastForkGuid: this.#fork,
        ...(crossing && { forkPointLsn: crossing.point }),
        startedAt,
        finishedAt: text(this.#time),
        files: [`${this.backups.length}.bak`],
        set: 1,
      },
    })
    if (isLog) this.#work()
  }

  /** To an earlier record; from there the log goes on with other records under the same numbers. */
  #restore(back: number): void {
    const kept = this.#lineage.slice(0, this.#lineage.length - back)
    if (!this.#lastFull(kept)) return
    // A second change of the path within one log backup is left out: what its header says then is not documented.
    if (crossingOf(kept, this.#logBegin(kept))) return
    this.#lineage = kept
    this.#fork = `fork-${this.#forks++}`
    this.#remember()
    this.#work()
  }

  /** The base for differentials of this history. */
  #lastFull(lineage: readonly LogRecord[]): SimulatedBackup | undefined {
    return this.backups.findLast(
      (backup) => backup.header.kind === 'full' && !backup.header.copyOnly && isPrefix(backup.lineage, lineage),
    )
  }

  /** Where the next log backup of this history begins: at the end of the last, or with the first full. */
  #logBegin(lineage: readonly LogRecord[]): bigint {
    const own = this.backups.filter((backup) => isPrefix(backup.lineage, lineage))
    const last = own.findLast(({ header }) => header.kind === 'log' && !header.copyOnly)
    return last?.header.lastLsn ?? own[0]?.header.firstLsn ?? 0n
  }

  #pass(upTo: number): void {
    this.#time += 1 + this.#random(upTo)
  }

  #remember(): void {
    this.states.push({ time: this.#time, lineage: [...this.#lineage], fork: this.#fork })
  }

  /** Numbers that depend on the seed only (a linear congruential generator). */
  #random(below: number): number {
    this.#seed = (this.#seed * 1_103_515_245 + 12_345) % 2_147_483_648
    return Math.floor((this.#seed / 2_147_483_648) * below)
  }
}

/** Where a database stands that is being restored. */
export interface Standing {
  readonly lsn: bigint
  readonly content: readonly LogRecord[]
}

/** What restoring a full, or a full and a differential, gives. */
export function restoreData(backup: SimulatedBackup): Standing {
  return { lsn: backup.header.lastLsn, content: backup.lineage }
}

/** What restoring a log gives; undefined when it does not fit: too early, too late, or of another history. */
export function restoreLog(at: Standing, log: SimulatedBackup): Standing | undefined {
  const { firstLsn, lastLsn } = log.header
  if (firstLsn > at.lsn || lastLsn < at.lsn) return undefined
  const before = log.lineage.filter(({ lsn }) => lsn < at.lsn)
  return sameRecords(before, at.content) ? { lsn: lastLsn, content: log.lineage } : undefined
}

/** Whether two histories are the same. */
export const sameRecords = (a: readonly LogRecord[], b: readonly LogRecord[]): boolean =>
  a.length === b.length && a.every(({ id }, index) => id === b[index]?.id)

const isPrefix = (short: readonly LogRecord[], long: readonly LogRecord[]): boolean =>
  sameRecords(short, long.slice(0, short.length))

/** Where a stretch of log leaves the recovery path on which it begins. */
function crossingOf(lineage: readonly LogRecord[], firstLsn: bigint): { from: string; point: bigint } | undefined {
  const from = (lineage.findLast(({ lsn }) => lsn < firstLsn) ?? lineage[0])?.fork ?? ''
  const left = lineage.findIndex(({ lsn, fork }) => lsn >= firstLsn && fork !== from)
  return left < 0 ? undefined : { from, point: (lineage[left - 1]?.lsn ?? 0n) + 1n }
}

/** Cut to the second, as in msdb and in backup files. */
const text = (time: number): string => new Date(time).toISOString().slice(0, 19)
