import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { BackupError, type ErrorCode } from '@taskflow-backup/core'

/** Asserts that `work` rejects with a `BackupError` of one of `codes` (any code without them), and returns it. */
export async function rejects(work: Promise<unknown>, what: string, ...codes: ErrorCode[]): Promise<BackupError> {
  const outcome = await settled(work, what)
  assert.ok('error' in outcome, `${what}: it succeeded, and must not`)
  const { error } = outcome
  assert.ok(error instanceof BackupError, `${what}: it failed with ${String(error)}, which is no BackupError`)
  if (codes.length > 0) {
    assert.ok(
      codes.includes(error.code),
      `${what}: it failed with ${error.code} (${error.message}), not ${codes.join(' or ')}`,
    )
  }
  return error
}

/** A server that restores on a busy machine takes its time; what hangs, hangs for longer. */
const PATIENCE_MS = 40_000
/** Patience is counted in these, so that time in which this process itself stood still counts for little. */
const SLICE_MS = 100

/** How `work` ended; fails when it does not end at all. */
export async function settled<T>(work: Promise<T>, what: string): Promise<{ value: T } | { error: unknown }> {
  const late = new AbortController()
  const outcome = await Promise.race([
    work.then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    ),
    patience(late.signal),
  ])
  if (outcome === 'late') assert.fail(`${what}: it did not come to an end within ${PATIENCE_MS} ms`)
  late.abort()
  return outcome
}

async function patience(signal: AbortSignal): Promise<'late'> {
  for (let waitedMs = 0; waitedMs < PATIENCE_MS && !signal.aborted; waitedMs += SLICE_MS)
    await sleep(SLICE_MS, undefined, { signal }).catch(() => {})
  return 'late'
}
