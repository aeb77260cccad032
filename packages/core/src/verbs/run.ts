import type { AdapterContext } from '../contracts/adapter.ts'
import type { BackupEvent, Verb } from '../contracts/events.ts'
import { type BackupError, throwIfAborted, toBackupError } from '../errors.ts'
import { acquireLock, type Lock, type LockMode } from '../lock.ts'
import type { BackupPlan, Destination } from '../plan.ts'
import { NotifierQueue } from './notify.ts'

/** What every verb that works takes. */
export interface VerbOptions {
  /** Ends the work; the verb then rejects with `ABORTED` and leaves nothing half-made. */
  readonly signal?: AbortSignal
  /** Called with every event, in order. What it throws is reported as a process warning and changes nothing. */
  readonly onEvent?: (event: BackupEvent) => void
}

type OwnFields = 'plan' | 'verb' | 'at'
// Distributes over the union, which `Omit` alone would flatten.
export type EventBody<E = BackupEvent> = E extends BackupEvent ? Omit<E, OwnFields> : never
type CompletedFields = Omit<Extract<EventBody, { type: 'completed' }>, 'type' | 'durationMs'>

/** What a verb's work is given. */
export interface Work {
  readonly plan: BackupPlan
  readonly signal: AbortSignal
  readonly emit: (event: EventBody) => void
  readonly warn: (message: string, code?: string) => void
  /** A context for the adapter whose progress is told under `phase`. */
  adapterContext(phase: string, signal?: AbortSignal): AdapterContext
  /** Tells progress of `phase`, at most ten times a second, with its rate. */
  progress(phase: string): (bytes: number, totalBytes?: number) => void
}

/** Progress is told at most this often. */
const PROGRESS_MS = 100

/** Runs a verb: events at its begin and end, notifiers, abort, and one class of errors. */
export async function runVerb<T>(
  plan: BackupPlan,
  verb: Verb,
  options: VerbOptions,
  work: (work: Work) => Promise<{ result: T; completed?: CompletedFields }>,
): Promise<T> {
  const startedAtMs = performance.now()
  const signal = options.signal ?? new AbortController().signal

  const notifiers = plan.notifiers.map(
    (notify) =>
      new NotifierQueue(notify, (message) => {
        // Not told to the notifiers: the one that failed would fail again.
        callListener(options.onEvent, { type: 'warning', plan: plan.name, verb, at: plan.runtime.now(), message })
      }),
  )
  const emit = (body: EventBody): void => {
    const event = { ...body, plan: plan.name, verb, at: plan.runtime.now() } as BackupEvent
    callListener(options.onEvent, event)
    if (event.type === 'progress' || event.type === 'logged') return
    for (const notifier of notifiers) notifier.add(event)
  }
  const warn = (message: string, code?: string): void => emit({ type: 'warning', message, ...(code && { code }) })
  const progress = (phase: string) => {
    const sinceMs = performance.now()
    let toldAtMs = Number.NEGATIVE_INFINITY
    return (bytes: number, totalBytes?: number): void => {
      const nowMs = performance.now()
      if (nowMs - toldAtMs < PROGRESS_MS && bytes !== totalBytes) return
      toldAtMs = nowMs
      const bytesPerSecond = Math.round(bytes / Math.max(0.001, (nowMs - sinceMs) / 1000))
      emit({ type: 'progress', phase, bytes, ...(totalBytes !== undefined && { totalBytes }), bytesPerSecond })
    }
  }
  const adapterContext = (phase: string, own: AbortSignal = signal): AdapterContext => {
    const tell = progress(phase)
    return {
      ...plan.runtime,
      signal: own,
      onProgress: ({ bytes, totalBytes }) => tell(bytes, totalBytes),
      onWarning: (message) => warn(message),
    }
  }

  const elapsedMs = (): number => Math.round(performance.now() - startedAtMs)
  try {
    throwIfAborted(signal)
    const { result, completed } = await work({ plan, signal, emit, warn, adapterContext, progress })
    emit({ type: 'completed', durationMs: elapsedMs(), ...completed })
    return result
  } catch (thrown) {
    const error = toBackupError(thrown, 'INTERNAL', `${verb} failed`)
    emit({ type: 'failed', durationMs: elapsedMs(), code: error.code, message: error.message })
    throw error
  } finally {
    await Promise.all(notifiers.map((notifier) => notifier.settled()))
  }
}

function callListener(onEvent: VerbOptions['onEvent'], event: BackupEvent): void {
  try {
    onEvent?.(event)
  } catch (error) {
    process.emitWarning(`onEvent threw: ${error instanceof Error ? error.message : String(error)}`, 'BackupWarning')
  }
}

/** Where the plan's locks lie: the first writable destination, a required one if there is one. */
export function lockHome({ destinations }: BackupPlan): Destination | undefined {
  const writable = destinations.filter((destination) => !destination.storage.capabilities.readOnly)
  return writable.find((destination) => destination.required) ?? writable[0]
}

/** A lock that work is done under; `key` is absent where none could be put. */
export type HeldLock = Pick<Lock, 'assertHeld'> & Partial<Pick<Lock, 'key'>>

/**
 * Runs `work` under the plan's lock.
 * The signal that `work` gets is also aborted when the lock is lost.
 *
 * A reader goes on without a lock where none can be put: a restore must not fail because the disk is full.
 *
 * @param beside key of a lock that the caller holds and that does not conflict
 */
export async function withLock<T>(
  { plan, signal, warn }: Pick<Work, 'plan' | 'signal' | 'warn'>,
  verb: string,
  mode: LockMode,
  work: (signal: AbortSignal, lock: HeldLock) => Promise<T>,
  beside?: string,
): Promise<T> {
  const home = lockHome(plan)
  let lock: Lock | undefined
  try {
    if (home) {
      const request = { mode, verb, waitMs: plan.lockWaitMs, signal, ...(beside !== undefined && { beside }) }
      lock = await acquireLock(home.storage, plan.name, request, plan.runtime)
    }
  } catch (thrown) {
    const error = toBackupError(thrown, 'STORAGE_FAILED', 'Cannot lock the plan')
    if (mode !== 'read' || error.code === 'PLAN_LOCKED' || error.code === 'ABORTED') throw error
    warn(`Going on without a lock: ${error.message}`, error.code)
  }
  if (!lock) return work(signal, { assertHeld: async () => {} })
  let failure: unknown
  try {
    return await work(AbortSignal.any([signal, lock.signal]), lock)
  } catch (error) {
    failure = error
    throw error
  } finally {
    await lock.release().catch((error: BackupError) => {
      // What was done is done; a lock that stays is taken over once this process has ended.
      if (!failure) warn(error.message, error.code)
    })
  }
}
