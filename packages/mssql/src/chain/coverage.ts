import type { Lsn } from '../lsn.ts'
import { type LocalMs, parseLocalTime } from '../server-time.ts'
import type { BackupHeader } from './types.ts'

/**
 * What the log backups of one recovery path cover. A log can be restored on a database that stands at `lsn` when it
 * begins there or before; logs may overlap, repeat each other or be empty. Logs that follow each other without a gap
 * make a segment.
 */
export class LogCoverage {
  /** By first LSN. */
  readonly #logs: readonly BackupHeader[]
  /** For each of `#logs`: which one up to it goes furthest. */
  readonly #furthest: number[] = []
  /** For each of `#logs`: its segment. */
  readonly #segments: number[] = []
  readonly #segmentEnds: Lsn[] = []
  /** By last LSN, with the segment, and the latest start of this and the following logs of the segment. */
  readonly #byEnd: readonly { readonly lastLsn: Lsn; readonly segment: number; provenUntil: LocalMs }[]

  constructor(logs: readonly BackupHeader[]) {
    this.#logs = sortedByLsn(logs, ({ firstLsn }) => firstLsn)
    let best = 0
    for (const [index, log] of this.#logs.entries()) {
      const end = this.#segmentEnds.at(-1)
      if (end === undefined || log.firstLsn > end) this.#segmentEnds.push(log.lastLsn)
      else if (log.lastLsn > end) this.#segmentEnds[this.#segmentEnds.length - 1] = log.lastLsn
      this.#segments.push(this.#segmentEnds.length - 1)
      if (log.lastLsn > at(this.#logs, best).lastLsn) best = index
      this.#furthest.push(best)
    }
    const ends = this.#logs.map(({ lastLsn, startedAt }, index) => ({
      lastLsn,
      segment: at(this.#segments, index),
      provenUntil: parseLocalTime(startedAt),
    }))
    this.#byEnd = sortedByLsn(ends, ({ lastLsn }) => lastLsn)
    for (let index = this.#byEnd.length - 2; index >= 0; index -= 1) {
      const [one, next] = [at(this.#byEnd, index), at(this.#byEnd, index + 1)]
      if (one.segment === next.segment) one.provenUntil = Math.max(one.provenUntil, next.provenUntil)
    }
  }

  /** How far the logs carry a database that stands at `lsn`. */
  reach(lsn: Lsn): Lsn {
    const segment = this.#segmentAt(lsn)
    return segment === undefined ? lsn : at(this.#segmentEnds, segment)
  }

  /** Up to when it is known that nothing is missing: the latest start of a log backup within reach. */
  provenUntil(lsn: Lsn): LocalMs | undefined {
    const segment = this.#segmentAt(lsn)
    const found = this.#byEnd[firstIndex(this.#byEnd.length, (index) => at(this.#byEnd, index).lastLsn >= lsn)]
    return found && found.segment === segment ? found.provenUntil : undefined
  }

  /** The logs to restore from `lsn` on, as few as possible, up to and with the first for which `isLast` holds. */
  walk(lsn: Lsn, isLast: (log: BackupHeader) => boolean): BackupHeader[] {
    const logs: BackupHeader[] = []
    for (let next = this.#next(lsn); next; next = this.#next(next.lastLsn)) {
      logs.push(next)
      if (isLast(next)) break
    }
    return logs
  }

  /** The first log after a gap at `lsn`. */
  afterGap(lsn: Lsn): BackupHeader | undefined {
    return this.#logs[this.#after(lsn)]
  }

  /** The log that goes furthest beyond `lsn`, of those that can be restored there. */
  #next(lsn: Lsn): BackupHeader | undefined {
    const last = this.#after(lsn) - 1
    const found = last < 0 ? undefined : at(this.#logs, at(this.#furthest, last))
    return found && found.lastLsn > lsn ? found : undefined
  }

  #segmentAt(lsn: Lsn): number | undefined {
    const last = this.#after(lsn) - 1
    if (last < 0) return undefined
    const segment = at(this.#segments, last)
    return lsn <= at(this.#segmentEnds, segment) ? segment : undefined
  }

  /** Index of the first log that begins after `lsn`. */
  #after(lsn: Lsn): number {
    return firstIndex(this.#logs.length, (index) => at(this.#logs, index).firstLsn > lsn)
  }
}

/** Orders LSNs. */
export const compare = (a: Lsn, b: Lsn): number => (a < b ? -1 : a > b ? 1 : 0)

/**
 * Sorts by LSN. Most of the order is found with plain numbers, many times faster: they lose digits, but never turn the
 * order round.
 */
function sortedByLsn<T>(list: readonly T[], lsnOf: (item: T) => Lsn): T[] {
  return list
    .map((item) => ({ item, key: Number(lsnOf(item)) }))
    .sort((a, b) => a.key - b.key || compare(lsnOf(a.item), lsnOf(b.item)))
    .map(({ item }) => item)
}

/** The first index for which `holds`, where it holds for every later one too; `length` when there is none. */
function firstIndex(length: number, holds: (index: number) => boolean): number {
  let [low, high] = [0, length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (holds(middle)) high = middle
    else low = middle + 1
  }
  return low
}

function at<T>(list: readonly T[], index: number): T {
  return list[index] as T
}
