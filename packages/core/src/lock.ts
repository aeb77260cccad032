import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Runtime } from './contracts/adapter.ts'
import type { ObjectInfo, Storage } from './contracts/storage.ts'
import { BackupError, throwIfAborted, toBackupError } from './errors.ts'
import { lockKey, lockPrefix, meaningOf } from './layout.ts'
import { livenessOf, ownIdentity, type ProcessIdentity } from './process-identity.ts'

// Every holder puts an object of its own with a name that is never used again, then lists: whoever sees another
// holder steps back. So a take-over deletes exactly the dead holder's object and can never hit a live one's, and no
// storage needs compare-and-swap.

/**
 * `read` goes with everything but `exclusive`; `write` only with `read`; `exclusive` with nothing. `follow` is beside
 * all this: it is held for as long as a log is followed, and conflicts with nothing but another `follow`.
 */
export type LockMode = 'read' | 'write' | 'exclusive' | 'follow'

const MODES: readonly LockMode[] = ['read', 'write', 'exclusive', 'follow']

/** How a lock keeps time. Milliseconds. */
export interface LockTiming {
  /** A holder that cannot be asked counts as dead after its lock has stood still for this long. */
  readonly staleAfterMs: number
  readonly beatMs: number
  readonly pollMs: number
  /** By which ages and waits are judged. Never goes back. */
  readonly nowMs: () => number
}

/** Goes on counting while the process or the machine stands still, and is the same in all threads of a process. */
const uptimeMs = (): number => Number(process.hrtime.bigint() / 1_000_000n)

const TIMING: LockTiming = { staleAfterMs: 30_000, beatMs: 5_000, pollMs: 200, nowMs: uptimeMs }
const RELEASE_ATTEMPTS = 4
const MOST_COLLISIONS = 4

interface LockContent {
  readonly mode: LockMode
  readonly verb: string
  readonly holder: ProcessIdentity
  readonly acquiredAt: string
  /** Grows while the holder lives. */
  readonly beat: number
  /** When it beat last, on the holder's own clock that never goes back; means nothing to other processes. */
  readonly beatenAtMs: number
}

export interface Lock {
  readonly key: string
  /** Aborted with `LOCK_LOST` when the lock could not be kept. */
  readonly signal: AbortSignal
  /** Asks the storage whether the lock is still ours. @throws `LOCK_LOST` */
  assertHeld(): Promise<void>
  /**
   * The same without asking: as long as it beats in time nobody may take it over, only a person can have removed it.
   *
   * @throws `LOCK_LOST`
   */
  assertBeating(): void
  release(): Promise<void>
}

export interface LockRequest {
  readonly mode: LockMode
  readonly verb: string
  /** How long to wait for a live holder. A dead one's lock is taken over however short this is. */
  readonly waitMs: number
  readonly signal: AbortSignal
  /** Key of a lock that this process holds as well and that does not conflict: it need not be read. */
  readonly beside?: string
}

/**
 * Takes the plan's lock in one storage.
 *
 * @throws `PLAN_LOCKED` with the holder in its message, `ABORTED`, and whatever the storage throws
 */
export async function acquireLock(
  storage: Storage,
  plan: string,
  request: LockRequest,
  runtime: Runtime,
  timing: LockTiming = TIMING,
): Promise<Lock> {
  const { mode, verb, waitMs, signal, beside } = request
  const holder = await ownIdentity()
  const giveUpAt = timing.nowMs() + waitMs
  const watched = new Map<string, Sighting>()
  let before: ReadonlySet<string> = new Set()
  let collisions = 0
  for (;;) {
    throwIfAborted(signal)
    const key = lockKey(plan, runtime.randomId(16))
    const startedMs = performance.now()
    // Its age counts from here: to others it may stand still for as long as we look around.
    const acquiredAt = runtime.now().toISOString()
    const content: LockContent = { mode, verb, holder, acquiredAt, beat: 0, beatenAtMs: timing.nowMs() }
    let others: Conflicts
    try {
      await putLock(storage, key, content)
      others = await findConflicts(storage, plan, [key, beside], content, watched, timing)
    } catch (error) {
      // A put that failed may have stored it all the same.
      await storage.delete(key).catch(() => {})
      throw error
    }
    const { first } = others
    if (!first) return hold(storage, key, content, timing)
    await storage.delete(key)
    const undecided = [...watched.values()].some((sighting) => !sighting.moved)
    if (timing.nowMs() >= giveUpAt && !undecided) {
      throw lockedBy(plan, first)
    }
    // A lock that was there before is held. Else all whom we met stepped back as we did, and will come again: attempts
    // that take long would meet for ever if the pauses between them did not become longer.
    collisions = [...others.keys].every((one) => !before.has(one)) ? Math.min(collisions + 1, MOST_COLLISIONS) : 0
    before = others.keys
    const apartMs = (performance.now() - startedMs) * (2 ** collisions - 1) * Math.random()
    const leftMs = Math.max(0, giveUpAt - timing.nowMs())
    const pauseMs = timing.pollMs * (0.5 + Math.random()) + Math.min(apartMs, leftMs)
    await sleep(pauseMs, undefined, { signal }).catch(() => throwIfAborted(signal))
  }
}

function lockedBy(plan: string, { mode, verb, holder, acquiredAt }: LockContent): BackupError {
  const who = `process ${holder.pid} on ${holder.host} since ${acquiredAt}`
  if (mode !== 'follow' || verb !== 'followLog')
    return new BackupError('PLAN_LOCKED', `Plan "${plan}" is locked by ${verb} of ${who}.`, { retryable: true })
  return new BackupError('PLAN_LOCKED', `The log of plan "${plan}" is being followed by ${who}.`, {
    retryable: true,
    hint: 'What it captures is stored without another log backup; stop it to make one, or to follow the log elsewhere.',
  })
}

/** What we saw of a lock whose holder cannot be asked: it is dead when nothing moves for long enough, by our own clock. */
interface Sighting {
  readonly state: string
  readonly sinceMs: number
  readonly moved: boolean
}

/** Locks of others that ours cannot stand beside. */
interface Conflicts {
  readonly first: LockContent | undefined
  readonly keys: ReadonlySet<string>
}

async function findConflicts(
  storage: Storage,
  plan: string,
  ownKeys: readonly (string | undefined)[],
  own: LockContent,
  watched: Map<string, Sighting>,
  timing: LockTiming,
): Promise<Conflicts> {
  const keys = new Set<string>()
  let first: LockContent | undefined
  for await (const object of storage.list(lockPrefix(plan))) {
    if (ownKeys.includes(object.key) || meaningOf(plan, object.key).is !== 'lock') continue
    const content = await readLock(storage, object)
    if (!content || !conflicts(own.mode, content.mode)) continue
    const liveness = await livenessOf(content.holder)
    const abandoned =
      liveness === 'alive'
        ? isOverdue(own, content, timing)
        : liveness === 'dead' || stoodStill(watched, object.key, content, timing)
    if (abandoned) {
      await storage.delete(object.key)
      continue
    }
    keys.add(object.key)
    first ??= content
  }
  for (const key of watched.keys()) if (!keys.has(key)) watched.delete(key)
  return { first, keys }
}

/** A lock of this very process that could not be released: nobody beats for it any more. */
function isOverdue(own: LockContent, { holder, beatenAtMs }: LockContent, timing: LockTiming): boolean {
  const sameProcess = JSON.stringify(own.holder) === JSON.stringify(holder)
  return sameProcess && timing.nowMs() - beatenAtMs > timing.staleAfterMs
}

function stoodStill(watched: Map<string, Sighting>, key: string, content: LockContent, timing: LockTiming): boolean {
  const state = JSON.stringify(content)
  const before = watched.get(key)
  if (before?.state === state) return timing.nowMs() - before.sinceMs > timing.staleAfterMs
  watched.set(key, { state, sinceMs: timing.nowMs(), moved: before !== undefined })
  return false
}

function conflicts(a: LockMode, b: LockMode): boolean {
  if (a === 'follow' || b === 'follow') return a === b
  return a === 'exclusive' || b === 'exclusive' || (a === 'write' && b === 'write')
}

async function putLock(storage: Storage, key: string, content: LockContent): Promise<void> {
  // When the power fails its holder has gone as well.
  await storage.put(key, Buffer.from(`${JSON.stringify(content, null, 2)}\n`), { durable: false })
}

async function readLock(storage: Storage, object: ObjectInfo): Promise<LockContent | undefined> {
  try {
    return parseLock(await buffer(await storage.get(object.key)))
  } catch (error) {
    if (error instanceof BackupError && error.code === 'OBJECT_MISSING') return undefined
    if (error instanceof BackupError) throw error
    // Not readable as a lock: nobody can be asked, so it conflicts with everything until it has stood still.
    const holder = { host: 'unknown', pid: 0 }
    const acquiredAt = object.modifiedAt.toISOString()
    return { mode: 'exclusive', verb: 'an unreadable lock', holder, acquiredAt, beat: object.sizeBytes, beatenAtMs: 0 }
  }
}

function parseLock(bytes: Buffer): LockContent {
  const content = JSON.parse(bytes.toString()) as LockContent
  const { mode, holder } = content
  if (!MODES.includes(mode) || typeof holder.host !== 'string' || !Number.isInteger(holder.pid)) {
    throw new TypeError('It is JSON, and no lock.')
  }
  return content
}

function hold(storage: Storage, key: string, content: LockContent, timing: LockTiming): Lock {
  const lost = new AbortController()
  let { beatenAtMs } = content
  let beat = 0
  let beating: Promise<void> = Promise.resolve()
  let released = false

  const lose = (why: string, cause?: unknown): BackupError => {
    const error = new BackupError('LOCK_LOST', `The lock ${key} was lost: ${why}.`, { cause })
    lost.abort(error)
    return error
  }
  const overdue = (): boolean => timing.nowMs() - beatenAtMs > timing.staleAfterMs

  const assertBeating = (): void => {
    if (lost.signal.aborted) throw lost.signal.reason
    if (overdue()) throw lose('this process stood still for too long')
  }

  const beatOnce = async (): Promise<void> => {
    const startedMs = timing.nowMs()
    try {
      if (!(await storage.stat(key))) return void lose('somebody else removed it')
      if (released || lost.signal.aborted) return
      await putLock(storage, key, { ...content, beat: ++beat, beatenAtMs: timing.nowMs() })
      beatenAtMs = startedMs
    } catch (error) {
      if (overdue()) lose('it could not be renewed', error)
    }
  }
  const timer = setInterval(() => {
    // After a long pause, also of a beat that hangs, somebody may have taken over: putting the lock again would hide that.
    if (overdue()) lose('this process stood still for too long')
    else beating = beating.then(beatOnce)
  }, timing.beatMs)

  return {
    key,
    signal: lost.signal,
    assertBeating,
    async assertHeld() {
      assertBeating()
      if (!(await storage.stat(key))) throw lose('somebody else removed it')
    },
    async release() {
      clearInterval(timer)
      released = true
      await beating
      for (let attempt = 1; ; attempt++) {
        try {
          return await storage.delete(key)
        } catch (error) {
          if (attempt === RELEASE_ATTEMPTS)
            throw toBackupError(error, 'STORAGE_FAILED', `Cannot release the lock ${key}`)
          await sleep(timing.pollMs * attempt)
        }
      }
    },
  }
}
