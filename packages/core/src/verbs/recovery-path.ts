import type { BackupAdapter } from '../contracts/adapter.ts'
import type { CatalogEntry, Manifest } from '../contracts/backup.ts'
import { BackupError } from '../errors.ts'
import { isDamage, type ManifestReader } from '../manifest-reader.ts'
import type { BackupPlan } from '../plan.ts'
import { pathOfLogs } from './log-path.ts'

/** The backups of a recovery, in the order of their use. */
export interface RecoveryPath {
  readonly path: readonly Manifest[]
  /** The last moment that is known to have the state at the end of `path`. */
  readonly reachedAt: Date
}

/** Where a recovery ends; at the newest state without either. */
export interface RecoveryLimit {
  readonly at?: Date
  /** The position in the chain of `full` to stop at, if there is one. */
  readonly stopIn: (full: Manifest) => string | undefined
}

/** Logs that are read at once when it is not known how many more are needed; doubles every time. */
const FIRST_STRETCH = 16

/**
 * What leads to exactly the end of one backup, or to a position before it.
 *
 * @throws `BACKUP_NOT_FOUND`, `POINT_UNREACHABLE`, `MANIFEST_DAMAGED`
 */
export async function pathToBackup(
  { adapter }: BackupPlan,
  backups: readonly CatalogEntry[],
  { id, stopIn }: Pick<RecoveryLimit, 'stopIn'> & { readonly id: string },
  manifests: ManifestReader,
): Promise<RecoveryPath> {
  const wanted = backups.find((backup) => backup.id === id)
  if (!wanted) throw new BackupError('BACKUP_NOT_FOUND', `There is no backup ${id} in any reachable destination.`)
  const chain = backups.filter((backup) => backup.chain === wanted.chain)
  const full = chain.find((backup) => backup.kind === 'full')
  if (!full) throw new BackupError('BACKUP_NOT_FOUND', `The full backup that ${id} depends on is gone.`)
  const stop = stopIn(await manifests.read(full))
  if (stop !== undefined) {
    return walkChain(adapter, chain.slice(0, chain.indexOf(wanted) + 1), full, { stop }, manifests)
  }
  const manifest = await manifests.read(wanted)
  const reachedAt = new Date(manifest.consistentAt)
  if (wanted.kind === 'full') return { path: [manifest], reachedAt }
  if (wanted.kind === 'differential') return { path: [await manifests.read(full), manifest], reachedAt }
  const base = await baseOf(full, chain.slice(0, chain.indexOf(wanted)), () => true, manifests)
  const start = base.at(-1) as Manifest
  const { logs } = await readLogs(logsAfter(chain, start, full.chain), manifests)
  const { begin, end } = manifest.position
  const { comparePositions } = adapter
  const upTo = (position: string): Manifest[] =>
    pathOfLogs(
      adapter,
      start,
      logs.filter((log) => log.id !== id && comparePositions(log.position.end, position) <= 0),
    )
  const endOf = (path: readonly Manifest[]): Manifest => path.at(-1) ?? start
  // A log that holds nothing new is left out.
  if (comparePositions(end, start.position.end) <= 0) return { path: base, reachedAt }
  // The log itself, rather than a merged one that ends where it does: it is what was asked for.
  const before = begin === undefined ? [] : upTo(begin)
  if (begin !== undefined && comparePositions(begin, endOf(before).position.end) <= 0) {
    const itself = comparePositions(end, endOf(before).position.end) > 0 ? [manifest] : []
    return { path: [...base, ...before, ...itself], reachedAt }
  }
  const path = upTo(end)
  if (comparePositions(endOf(path).position.end, end) !== 0) {
    throw new BackupError('POINT_UNREACHABLE', `The log backups up to ${id} have a gap after ${endOf(path).id}.`)
  }
  return { path: [...base, ...path], reachedAt }
}

/**
 * What leads closest to a moment without passing it, or to the newest state.
 *
 * @throws `BACKUP_NOT_FOUND`, `POINT_UNREACHABLE`, `MANIFEST_DAMAGED`
 */
export async function pathToMoment(
  plan: BackupPlan,
  backups: readonly CatalogEntry[],
  { at, stopIn }: RecoveryLimit,
  manifests: ManifestReader,
): Promise<RecoveryPath> {
  if (backups.length === 0) throw new BackupError('BACKUP_NOT_FOUND', `There is no backup of "${plan.name}" yet.`)
  // A backup is consistent at a moment after its start, so those that started later are out at once.
  for (const full of backups.filter((backup) => backup.kind === 'full' && (!at || backup.startedAt <= at)).reverse()) {
    const manifest = await manifests.read(full)
    if (at && new Date(manifest.consistentAt) > at) continue
    return walkChain(
      plan.adapter,
      backups.slice(backups.indexOf(full)),
      full,
      { at, stop: stopIn(manifest) },
      manifests,
    )
  }
  const first = backups.find((backup) => backup.kind === 'full')
  const reach = first ? `the first full backup is from ${first.startedAt.toISOString()}` : 'there is no full backup'
  throw new BackupError('POINT_UNREACHABLE', `Nothing reaches back to ${at?.toISOString() ?? 'any moment'}: ${reach}.`)
}

interface Limit {
  readonly at?: Date | undefined
  readonly stop?: string | undefined
}

/** From a full as far towards the limit (or the end of its chain) as a differential and gapless logs lead. */
async function walkChain(
  adapter: BackupAdapter,
  from: readonly CatalogEntry[],
  full: CatalogEntry,
  limit: Limit,
  manifests: ManifestReader,
): Promise<RecoveryPath> {
  const { at, stop } = limit
  const { comparePositions } = adapter
  const isBefore = ({ consistentAt, position: { end } }: Manifest): boolean =>
    (!at || new Date(consistentAt) <= at) && (stop === undefined || comparePositions(end, stop) < 0)
  const chain = from.filter((entry) => entry.chain === full.chain)
  const base = await baseOf(full, chain, isBefore, manifests)
  if (stop !== undefined && base.length > 1) {
    // A differential may be further than its position tells: past it.
    const { lost, ...through } = await walkLogs(adapter, from, base.slice(0, 1), { at, isBefore }, manifests)
    if (!lost && comparePositions((through.path.at(-1) as Manifest).position.end, stop) >= 0) return through
  }
  const { lost, ...through } = await walkLogs(adapter, from, base, { at, isBefore }, manifests)
  const last = through.path.at(-1) as Manifest
  if (at && last.kind === 'log' && base.some((one) => isMisdated(adapter, one))) {
    const logs = await walkLogs(adapter, from, base.slice(0, 1), { at, isBefore }, manifests)
    if (!logs.lost && comparePositions((logs.path.at(-1) as Manifest).position.end, last.position.end) >= 0) return logs
  }
  if (lost) throw lost
  return through
}

/**
 * Whether a differential was made while the clock was put back: then it may hold what was committed after its time.
 * Where it is among the captured moments of logs is not known from its position.
 */
const isMisdated = ({ pointInTime }: BackupAdapter, { kind, consistentAt, finishedAt }: Manifest): boolean =>
  pointInTime === 'captured' && kind === 'differential' && finishedAt < consistentAt

/** Logs after `base`; `lost` when one that cannot be read might have led further. */
async function walkLogs(
  adapter: BackupAdapter,
  from: readonly CatalogEntry[],
  base: readonly Manifest[],
  { at, isBefore: inTime }: { readonly at: Date | undefined; readonly isBefore: (manifest: Manifest) => boolean },
  manifests: ManifestReader,
): Promise<RecoveryPath & { readonly lost?: BackupError }> {
  const start = base.at(-1) as Manifest
  const { chain } = start
  const entries = logsAfter(from, start, chain)
  const logs: Manifest[] = []
  const unread: Unread[] = []
  let path: Manifest[] = []
  const complete = (): boolean => path.some((log) => !inTime(log))
  // Of the logs that were made after the moment only the first is of use, or a merged one that stands for it.
  const early = at ? entries.filter(({ startedAt }) => startedAt <= at).length : entries.length
  for (let done = 0, count = early; ; count = Math.max(FIRST_STRETCH, done)) {
    const read = await readLogs(entries.slice(done, done + count), manifests)
    logs.push(...read.logs)
    unread.push(...read.unread)
    path = towards(adapter, start, logs, inTime)
    done += count
    if (complete() || done >= entries.length || !adapter.pointInTime) break
  }
  if (adapter.follows && at && !complete()) {
    const later = from.filter((one) => one.chain !== chain && one.kind === 'log')
    path.push(...(await goOn(adapter, later, path.at(-1) ?? start, inTime, manifests)))
  }
  const last = path.at(-1) ?? start
  const lost = unread.find(({ entry }) => entry.id > last.id && entry.chain === last.chain)
  return {
    path: [...base, ...path],
    reachedAt: stillThen(adapter, last, logs.filter(inTime)),
    // Behind what is reached it is not needed.
    ...(lost && !complete() && { lost: lost.error }),
  }
}

/** The full, and the newest differential that is in time. */
async function baseOf(
  full: CatalogEntry,
  chain: readonly CatalogEntry[],
  inTime: (manifest: Manifest) => boolean,
  manifests: ManifestReader,
): Promise<Manifest[]> {
  const start = await manifests.read(full)
  for (const entry of chain.filter((backup) => backup.kind === 'differential').reverse()) {
    const differential = await manifests.read(entry)
    if (inTime(differential)) return [start, differential]
  }
  return [start]
}

/** Logs of the chain that were made after `start`: what the others hold is in it. */
const logsAfter = (entries: readonly CatalogEntry[], start: Manifest, chain: string): CatalogEntry[] =>
  entries
    .slice(entries.findIndex(({ id }) => id === start.id) + 1)
    .filter((one) => one.chain === chain && one.kind === 'log')

interface Unread {
  readonly entry: CatalogEntry
  readonly error: BackupError
}

async function readLogs(entries: readonly CatalogEntry[], manifests: ManifestReader) {
  const logs: Manifest[] = []
  const unread: Unread[] = []
  for await (const [entry, read] of manifests.readEach(entries)) {
    if (!(read instanceof BackupError)) logs.push(read)
    else if (isDamage(read)) unread.push({ entry, error: read })
    else throw read
  }
  return { logs, unread }
}

function towards(
  adapter: BackupAdapter,
  start: Manifest,
  logs: readonly Manifest[],
  inTime: (manifest: Manifest) => boolean,
): Manifest[] {
  const path = pathOfLogs(adapter, start, logs)
  const passing = path.findIndex((log) => !inTime(log))
  if (passing < 0) return path
  const before = pathOfLogs(adapter, start, logs.filter(inTime))
  if (!adapter.pointInTime) return before
  // Logs that a merged one replaces, and that are still there, may tell more moments apart than it does.
  const { end } = (before.at(-1) ?? start).position
  const { comparePositions } = adapter
  const [next] = logs
    .filter(({ position: { begin } }) => begin !== undefined && comparePositions(begin, end) === 0)
    .filter((log) => !inTime(log) && comparePositions(log.position.end, end) > 0)
    .sort((a, b) => comparePositions(a.position.end, b.position.end))
  return next ? [...before, next] : path.slice(0, passing + 1)
}

/** Logs of later chains that go on after `anchor`, up to the first that is not in time. */
async function goOn(
  adapter: BackupAdapter,
  entries: readonly CatalogEntry[],
  anchor: Manifest,
  inTime: (manifest: Manifest) => boolean,
  manifests: ManifestReader,
): Promise<Manifest[]> {
  const path: Manifest[] = []
  for await (const [, log] of manifests.readEach(entries)) {
    if (log instanceof BackupError) throw log
    const last = path.at(-1) ?? anchor
    if (!adapter.follows?.(log, last)) break
    if (adapter.comparePositions(log.position.end, last.position.end) <= 0) continue
    const { begin } = log.position
    if (begin === undefined || adapter.comparePositions(begin, last.position.end) > 0) break
    if (!inTime(log) && !adapter.pointInTime) break
    path.push(log)
    if (!inTime(log)) break
  }
  return path
}

/** Until when the state at the end of `last` is known to have stayed: a log of no change tells it. */
function stillThen({ comparePositions }: BackupAdapter, last: Manifest, logs: readonly Manifest[]): Date {
  const { end } = last.position
  const times = logs
    .filter(({ position }) => comparePositions(position.end, end) === 0)
    .map(({ consistentAt }) => consistentAt)
  // Of equal length, so that the order of the texts is that of the times.
  return new Date([last.consistentAt, ...times].sort().at(-1) as string)
}
