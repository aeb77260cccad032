import { realpath } from 'node:fs/promises'
import { BackupError } from '@taskflow-backup/core'
import { resolveConnection, withSession } from '../connection.ts'
import type { CheckedOptions } from '../options.ts'
import { endProcess, runningPostmaster } from '../server/postmaster.ts'

/** How long a live server may take for its last checkpoint when it is told to stop. */
const STOP_MS = 10 * 60_000
const ANSWER_MS = 3_000

/**
 * Refuses to go on while a server runs on a data directory.
 *
 * @throws `DATABASE_IN_USE`
 */
export async function refuseRunning(options: CheckedOptions, dataDirectory: string): Promise<void> {
  const pid = await runningPostmaster(dataDirectory)
  if (pid !== undefined) {
    throw new BackupError('DATABASE_IN_USE', `A server runs on ${dataDirectory} (process ${pid}).`, {
      hint: 'Stop the server first, then restore. `evenIfInUse: true` stops it just before it is replaced.',
    })
  }
  // In another container its process cannot be seen from here.
  const live = options.physical.dataDirectory
  const isLive = live !== undefined && (await realpath(live).catch(() => live)) === dataDirectory
  if (isLive && (await answers(options))) {
    throw new BackupError(
      'DATABASE_IN_USE',
      `The server answers, although no process of it is seen on ${dataDirectory}.`,
      {
        hint: 'Stop the server first, also if it runs in another container or on another machine.',
      },
    )
  }
}

/** Stops the server that runs on a data directory, as `pg_ctl stop -m fast` does. */
export async function endRunning(dataDirectory: string): Promise<void> {
  const pid = await runningPostmaster(dataDirectory)
  if (pid === undefined) return
  const refuse = (why: string, cause?: unknown): never => {
    throw new BackupError('DATABASE_IN_USE', `The server on ${dataDirectory} (process ${pid}) ${why}.`, { cause })
  }
  try {
    if (!(await endProcess(pid, 'SIGINT', STOP_MS))) refuse(`did not stop within ${STOP_MS} ms`)
  } catch (error) {
    if (error instanceof BackupError) throw error
    refuse('cannot be stopped from here', error)
  }
}

async function answers({ connection }: CheckedOptions): Promise<boolean> {
  try {
    const settings = await resolveConnection(connection)
    await withSession({ ...settings, connectTimeoutMs: Math.min(settings.connectTimeoutMs, ANSWER_MS) }, async () => {})
    return true
  } catch (error) {
    return !(error instanceof BackupError && ['SERVER_UNREACHABLE', 'INTERNAL'].includes(error.code))
  }
}
