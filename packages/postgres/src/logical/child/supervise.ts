import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { basename } from 'node:path'
import type { Readable } from 'node:stream'
import { BackupError } from '@taskflow-backup/core'
import type { ProgramOrders } from '../jobs.ts'
import { programError } from '../program-error.ts'

/** What a program says is kept up to this length: its end has the reason. */
const STDERR_CHARACTERS = 16_000
/** How long a program may take to cancel its statements on the server before it is killed. */
const GRACE_MS = 2_000

export interface SupervisedProgram {
  readonly stdout: Readable
  /** Rejects unless it ended with code 0. */
  readonly ended: Promise<void>
}

/**
 * Runs one of PostgreSQL's programs for as long as somebody holds the other end of `leash`. When that is let go, or the
 * app is gone, the program and its helpers are told to end: then they cancel what they began on the server.
 */
export function supervise({ file, args, env }: ProgramOrders, leash: Socket): SupervisedProgram {
  // In a group of its own, so that its helpers are reached as well: pg_dump and pg_restore have one for each job.
  const grouped = process.platform !== 'win32'
  const child = spawn(file, args, { env, stdio: ['ignore', 'pipe', 'pipe'], detached: grouped, windowsHide: true })
  const signal = (name: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(grouped ? -child.pid : child.pid, name)
    } catch {
      // It has ended.
    }
  }
  let stopped = false
  const stop = (): void => {
    if (stopped) return
    stopped = true
    signal('SIGTERM')
    setTimeout(signal, GRACE_MS, 'SIGKILL').unref()
  }
  leash.once('end', stop).once('close', stop).once('error', stop).resume()
  process.prependListener('disconnect', stop) // before this process kills itself for the same reason
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_CHARACTERS)
  })
  const ended = (async () => {
    // `once` rejects with the error of a program that could not be started.
    const [code, killedBy] = (await once(child, 'close').catch((error: Error) => {
      throw new BackupError('PROGRAM_MISSING', `${file} cannot be run: ${error.message}`)
    })) as [number | null, NodeJS.Signals | null]
    process.off('disconnect', stop)
    signal('SIGKILL') // a helper that its leader left behind
    if (code !== 0) throw programError(basename(file), killedBy ?? code, stderr, env.PGPASSWORD)
  })()
  ended.catch(() => {}) // thrown where it is awaited
  return { stdout: child.stdout, ended }
}
