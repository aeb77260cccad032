import { Readable } from 'node:stream'
import {
  type AdapterContext,
  abortError,
  type BackupAdapter,
  BackupError,
  type BackupFacts,
  type BackupRequest,
  type Finding,
  type Member,
  type OpenBackup,
  type RestoreRequest,
  type StagedRestore,
  type UndoRecord,
} from '@taskflow-backup/core'
import {
  type Database,
  type FollowedLedger,
  type LedgerContent,
  type LedgerFollower,
  ledgerFollower,
} from './ledger-follow.ts'
import {
  formatPosition,
  type LedgerEntry,
  type LedgerHeader,
  type LedgerPosition,
  parsePosition,
  readMember,
  writeMember,
} from './ledger-format.ts'
import { mergeLogs, rollForward, type Written } from './ledger-logs.ts'

/** What {@link ledger} takes. */
export interface LedgerOptions {
  /** Clock of the engine, which stamps the entries. Default: the system's. */
  readonly now?: () => Date
  /** Entries in one member of a backup; more than this make a second one. Default: 50. */
  readonly entriesPerMember?: number
  /** What the adapter says of itself; of `captured` its logs can be thinned by `mergeLogs`. Default: true. */
  readonly pointInTime?: true | 'captured'
}

/** A small database engine in memory: an append-only list of committed entries. */
export interface Ledger {
  /** Makes full, differential and log backups, and restores to a point in time. */
  readonly adapter: BackupAdapter
  /** Commits one entry. */
  append(text: string): void
  /** What is committed at `place`; in the live ledger without it. `undefined` when there is nothing. */
  entries(place?: string): readonly LedgerEntry[] | undefined
  /** Every place that holds a ledger, kept and staged ones included. */
  places(): readonly string[]
  /** Forgets what log backups need of what is committed so far: the next log cannot continue its chain. */
  truncateLog(): void
  /** Lets the next backup fail in the middle of a member. */
  failSource(): void
  /** Ends those who follow the log, as a crash would. */
  killFollowers(): void
  /** How many follow the log now. */
  followers(): number
  /** Gives the second entry the number of the first: the engine's own check finds it. */
  corrupt(): void
}

const LIVE = 'live'
const ENGINE = 'ledger'

/**
 * Makes a ledger: the smallest engine with which everything of core can be tested for real. Nothing in it is faked; its
 * members are the lines of JSON that {@link LedgerEntry} and `LedgerHeader` describe.
 *
 * @example
 * ```ts
 * import { createBackup, defineBackupPlan, memory, restoreBackup } from '@taskflow-backup/core'
 * import { ledger } from '@taskflow-backup/testing'
 *
 * const source = ledger()
 * source.append('first')
 * const plan = defineBackupPlan({ name: 'books', adapter: source.adapter, destinations: [memory()] })
 * await createBackup(plan)
 * await restoreBackup(plan, { to: 'copy' })
 * console.log(source.entries('copy')?.map(({ text }) => text)) // [ 'first' ]
 * ```
 */
export function ledger(options: LedgerOptions = {}): Ledger {
  const { now = () => new Date(), entriesPerMember = 50, pointInTime = true } = options
  const databases = new Map<string, Database>([[LIVE, { timeline: 1, entries: [], logFloor: 0 }]])
  let timelines = 1
  let names = 0
  let failing = false
  /** End of the newest log that was seen to be committed: the log of the next chain goes on there. */
  let logged: LedgerPosition | undefined

  const live = (): Database => {
    const database = databases.get(LIVE)
    if (!database) throw new BackupError('SOURCE_MISSING', 'The live ledger is gone.')
    return database
  }

  /** Puts the database at `from` in the place of `target`, whose database is kept. */
  const swap = (from: string, target: string, begin: (database: Database) => Database): UndoRecord => {
    const database = databases.get(from) as Database
    const replaced = databases.get(target)
    const kept = `${target}.kept-${++names}`
    databases.delete(from)
    databases.set(target, begin(database))
    if (replaced) databases.set(kept, replaced)
    return { engine: ENGINE, target, ...(replaced && { kept }), promotedAt: new Date().toISOString() }
  }

  const followers = new Set<LedgerFollower>()
  /** The members of a backup of `entries` between two positions. */
  function* membersOf(
    request: BackupRequest,
    { entries, begin, end, moments }: Written,
    ctx: AdapterContext,
    fails = false,
  ): Generator<Member> {
    const parts = Math.max(1, Math.ceil(entries.length / entriesPerMember))
    for (let part = 1; part <= parts; part++) {
      const own = entries.slice((part - 1) * entriesPerMember, part * entriesPerMember)
      const header: LedgerHeader = {
        ledger: 1,
        part,
        parts,
        begin,
        end,
        count: own.length,
        ...(moments && { moments }),
      }
      const lines = untilAborted(writeMember(header, own), ctx, fails && part === parts ? 1 : undefined)
      yield { name: `${request.fileStem}.part-${part}.jsonl`, body: Readable.from(lines, { objectMode: false }) }
    }
  }

  async function* backup(request: BackupRequest, ctx: AdapterContext): AsyncGenerator<Member, BackupFacts, void> {
    const { timeline, entries, logFloor } = live()
    const previous = request.kind === 'log' ? request.base?.previous.manifest : undefined
    if (previous?.kind === 'log') logged = parsePosition(previous.position.end)
    const since = beginOf(request, { timeline, sequence: entries.length }, logFloor)
    const begin = previous && logged?.timeline === timeline ? Math.min(since, logged.sequence) : since
    const fails = failing
    failing = false
    const content = { timeline, begin, entries: entries.slice(begin), consistentAt: now() }
    return yield* writeBackup(request, ctx, content, fails)
  }

  /** The members of one backup, and its facts. */
  async function* writeBackup(
    request: BackupRequest,
    ctx: AdapterContext,
    { timeline, begin, entries, consistentAt }: LedgerContent,
    fails: boolean,
  ): AsyncGenerator<Member, BackupFacts, void> {
    const from = formatPosition({ timeline, sequence: begin })
    const end = formatPosition({ timeline, sequence: begin + entries.length })
    yield* membersOf(request, { entries, begin: from, end }, ctx, fails)
    return {
      consistentAt,
      position: { ...(request.kind !== 'full' && { begin: from }), end },
      source: { name: LIVE, engineVersion: '1', details: { entries: begin + entries.length } },
      method: 'lines',
      notes: [],
    }
  }

  async function* merge(
    logs: readonly OpenBackup[],
    request: BackupRequest & { readonly resolutionMs?: number },
    ctx: AdapterContext,
  ): AsyncGenerator<Member, BackupFacts, void> {
    const { written, facts } = await mergeLogs(logs, request.resolutionMs)
    yield* membersOf(request, written, ctx)
    return facts
  }

  async function restore({ backups, target, at }: RestoreRequest, ctx: AdapterContext): Promise<StagedRestore> {
    const place = target.kind === 'place' ? target.to : LIVE
    if (typeof place !== 'string' || place === '')
      throw new BackupError('TARGET_INVALID', 'The place of a ledger is its name.')
    if (target.kind === 'place' && !target.overwrite && databases.has(place)) {
      throw new BackupError('TARGET_EXISTS', `There is a ledger "${place}" already.`)
    }
    const { entries: kept, timeline } = await rollForward(backups, at, ctx.signal)
    const location = `${place}.staged-${++names}`
    ctx.signal.throwIfAborted()
    databases.set(location, { timeline, entries: kept, logFloor: 0 })
    return {
      location,
      check: async () => findProblems(kept),
      async promote() {
        if (target.kind === 'scratch')
          throw new BackupError('CONTRACT_BROKEN', 'A restore for a check is never promoted.')
        return swap(location, place, (database) =>
          // The history goes another way from here: what was backed up before cannot be continued.
          place === LIVE ? { ...database, timeline: ++timelines } : database,
        )
      },
      async discard() {
        databases.delete(location)
      },
    }
  }

  const adapter: BackupAdapter = {
    engine: ENGINE,
    kinds: ['full', 'differential', 'log'],
    pointInTime,
    async describe() {
      const { entries } = live()
      return {
        name: LIVE,
        engineVersion: '1',
        sizeBytes: JSON.stringify(entries).length,
        details: { entries: entries.length },
      }
    },
    backup,
    async follow(base, { everyMs }, ctx) {
      const since = parsePosition((base.newestLog ?? base.full.manifest).position.end)
      const { timeline, entries, logFloor } = live()
      beginAfter(since, { timeline, sequence: entries.length }, logFloor)
      const write: FollowedLedger['write'] = (request, own, content) => writeBackup(request, own, content, false)
      const follower = ledgerFollower({ live, now, write }, since, everyMs, () => followers.delete(follower))
      followers.add(follower)
      ctx.signal.addEventListener('abort', () => void follower.source.close(), { once: true })
      return follower.source
    },
    merge,
    restore: (request, ctx) =>
      restore(request, ctx).catch((error: unknown) => {
        throw ctx.signal.aborted ? abortError(ctx.signal) : error
      }),
    async undo({ target, kept }) {
      if (kept === undefined) {
        const aside = `${target}.kept-${++names}`
        const database = databases.get(target)
        if (!database) throw new BackupError('UNDO_IMPOSSIBLE', `There is no ledger "${target}".`)
        databases.set(aside, database)
        databases.delete(target)
        return { engine: ENGINE, target, kept: aside, promotedAt: new Date().toISOString() }
      }
      if (!databases.has(kept)) throw new BackupError('UNDO_IMPOSSIBLE', `The kept ledger "${kept}" is gone.`)
      return swap(kept, target, (database) => database)
    },
    async inspect({ body }) {
      const { entries } = await readMember(body)
      return findProblems(entries)
    },
    comparePositions(a, b) {
      const [left, right] = [parsePosition(a), parsePosition(b)]
      return left.timeline - right.timeline || left.sequence - right.sequence
    },
    follows: (log, before) => parsePosition(log.position.end).timeline === parsePosition(before.position.end).timeline,
    async removeLeftovers() {
      const staged = [...databases.keys()].filter((place) => place.includes('.staged-'))
      for (const place of staged) databases.delete(place)
      return staged
    },
  }

  return {
    adapter,
    append(text) {
      const { entries } = live()
      entries.push({ sequence: entries.length + 1, at: now().toISOString(), text })
    },
    entries: (place = LIVE) => databases.get(place)?.entries.slice(),
    places: () => [...databases.keys()],
    truncateLog() {
      const database = live()
      database.entries.push({ sequence: database.entries.length + 1, at: now().toISOString(), text: 'log truncated' })
      database.logFloor = database.entries.length
    },
    failSource() {
      failing = true
    },
    killFollowers() {
      for (const follower of followers) follower.kill()
    },
    followers: () => followers.size,
    corrupt() {
      const { entries } = live()
      const [first, second] = entries
      if (first && second) entries[1] = { ...second, sequence: first.sequence }
    },
  }
}

/** After which entry a backup begins. */
function beginOf(request: BackupRequest, current: LedgerPosition, logFloor: number): number {
  if (request.kind === 'full' || !request.base) return 0
  const { full, previous } = request.base
  const start = parsePosition((request.kind === 'differential' ? full : previous).manifest.position.end)
  return beginAfter(start, current, request.kind === 'log' ? logFloor : 0)
}

/** @throws `BASE_UNUSABLE` when the log no longer goes on after `start` */
function beginAfter(start: LedgerPosition, current: LedgerPosition, logFloor: number): number {
  if (start.timeline !== current.timeline || start.sequence > current.sequence) {
    throw new BackupError('BASE_UNUSABLE', 'The ledger was restored since the last backup.')
  }
  if (start.sequence < logFloor) {
    throw new BackupError('BASE_UNUSABLE', 'The log since the last backup is gone.')
  }
  return start.sequence
}

/** Lines one by one; ends with an error when the work is aborted, or after `failAfter` lines. */
async function* untilAborted(lines: Iterable<Buffer>, ctx: AdapterContext, failAfter?: number): AsyncGenerator<Buffer> {
  let given = 0
  let bytes = 0
  for (const line of lines) {
    if (ctx.signal.aborted) throw abortError(ctx.signal)
    if (failAfter !== undefined && given++ === failAfter)
      throw new BackupError('SOURCE_UNREADABLE', 'The source failed on purpose.')
    yield line
    bytes += line.length
    ctx.onProgress({ bytes })
  }
}

function findProblems(entries: readonly LedgerEntry[]): Finding[] {
  const first = entries[0]?.sequence ?? 1
  const gap = entries.findIndex(({ sequence }, index) => sequence !== first + index)
  if (gap < 0) return [{ check: 'sequence', severity: 'ok', message: 'The entries have no gap.' }]
  return [
    { check: 'sequence', severity: 'error', message: `Entry ${entries[gap]?.sequence} is not where it should be.` },
  ]
}
