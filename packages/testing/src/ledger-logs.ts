import { BackupError, type BackupFacts, type OpenBackup } from '@taskflow-backup/core'
import { type LedgerEntry, type LedgerHeader, parsePosition, readMember } from './ledger-format.ts'

/** What goes into the members of a backup. */
export interface Written extends Pick<LedgerHeader, 'begin' | 'end' | 'moments'> {
  readonly entries: readonly LedgerEntry[]
}

/** Reads backups one after another up to a moment. @throws `MEMBER_DAMAGED` when they do not follow on one another */
export async function rollForward(
  backups: readonly OpenBackup[],
  at: Date | undefined,
  signal: AbortSignal,
): Promise<{ entries: LedgerEntry[]; timeline: number }> {
  const entries: LedgerEntry[] = []
  /** What cannot be told apart from something after the moment. */
  const tooLate = new Set<LedgerEntry>()
  let timeline = 0
  for (const one of backups) {
    for await (const { header, entries: own } of partsOf(one)) {
      signal.throwIfAborted()
      timeline = parsePosition(header.end).timeline
      const limit = at && header.moments && lastUpTo(header.moments, at)
      const fresh = own.filter(({ sequence }) => sequence > entries.length)
      const from = fresh[0]?.sequence
      if (from !== undefined && from > entries.length + 1)
        throw new BackupError('MEMBER_DAMAGED', `Entries ${entries.length + 1} to ${from - 1} are missing.`)
      entries.push(...fresh)
      if (limit !== undefined) for (const entry of fresh) if (entry.at > limit) tooLate.add(entry)
    }
  }
  const kept = at ? entries.filter((entry) => new Date(entry.at) <= at && !tooLate.has(entry)) : entries
  return { entries: kept, timeline }
}

/** Makes one log of several; with `resolutionMs` only one moment in so many milliseconds stays. */
export async function mergeLogs(
  logs: readonly OpenBackup[],
  resolutionMs: number | undefined,
): Promise<{ written: Written; facts: BackupFacts }> {
  const [first, last] = [logs[0]?.manifest, logs.at(-1)?.manifest]
  const begin = first?.position.begin
  if (!last || begin === undefined) throw new BackupError('CONTRACT_BROKEN', 'There is no log to merge.')
  const entries: LedgerEntry[] = []
  const moments: string[] = []
  let thinned = resolutionMs !== undefined
  for (const log of logs) {
    for await (const { header, entries: own } of partsOf(log)) {
      const fresh = own.filter(({ sequence }) => sequence > (entries.at(-1)?.sequence ?? 0))
      entries.push(...fresh)
      thinned ||= header.moments !== undefined
      const reachable = header.moments ?? fresh.map(({ at }) => at)
      moments.push(...reachable.filter((moment) => moment > (moments.at(-1) ?? '')))
    }
  }
  const { position, source, consistentAt } = last
  const kept = resolutionMs === undefined ? moments : lastOfEach(moments, resolutionMs)
  const farthestMs = Math.max(
    0,
    ...kept.slice(1).map((at, index) => Date.parse(at) - Date.parse(kept[index] as string)),
  )
  return {
    written: { entries, begin, end: position.end, ...(thinned && { moments: kept }) },
    facts: {
      consistentAt: new Date(consistentAt),
      position: { begin, end: position.end },
      source,
      method: 'merged',
      notes: [],
      ...(thinned && { resolutionMs: farthestMs }),
    },
  }
}

/** The members of one backup. */
async function* partsOf(backup: OpenBackup): AsyncGenerator<Awaited<ReturnType<typeof readMember>>> {
  const { members } = backup.manifest
  for (const [index, { name }] of members.entries()) {
    const part = await readMember(await backup.open(name))
    if (part.header.part !== index + 1 || part.header.parts !== members.length) {
      const { part: found, parts } = part.header
      throw new BackupError('MEMBER_DAMAGED', `${name} is part ${found} of ${parts}, not ${index + 1}.`)
    }
    yield part
  }
}

/** The last of `moments` that is not after `at`; what is before all of them otherwise. */
const lastUpTo = (moments: readonly string[], at: Date): string =>
  moments.findLast((moment) => new Date(moment) <= at) ?? ''

/** Of the moments that fall together when counted in steps of `resolutionMs`, the last. */
function lastOfEach(moments: readonly string[], resolutionMs: number): string[] {
  const stepOf = (moment: string): number => Math.floor(Date.parse(moment) / resolutionMs)
  return moments.filter((moment, index) => {
    const next = moments[index + 1]
    return next === undefined || stepOf(next) !== stepOf(moment)
  })
}
