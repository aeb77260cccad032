import type { ChildProcess } from 'node:child_process'
import type { Socket } from 'node:net'
import { type AdapterContext, CHANNEL_FD } from '@taskflow-backup/core'

const LOOK_EVERY_MS = 1

/**
 * For `failSource` of an adapter whose work is done in child processes: starts them as `spawn` does, and calls `kill`
 * as soon as something has come out of one. Default: the child itself is ended with `SIGKILL`.
 */
export function spawnToKill(
  spawn: AdapterContext['spawn'],
  kill: (child: ChildProcess) => unknown = (child) => child.kill('SIGKILL'),
): AdapterContext['spawn'] {
  const spawnAndWatch = (...args: Parameters<AdapterContext['spawn']>): ChildProcess => {
    const child = spawn(...args)
    const output = child.stdio[CHANNEL_FD] as Socket
    const timer = setInterval(() => {
      if (output.bytesRead === 0) return
      clearInterval(timer)
      kill(child)
    }, LOOK_EVERY_MS)
    child.once('exit', () => clearInterval(timer))
    return child
  }
  return spawnAndWatch as AdapterContext['spawn']
}
