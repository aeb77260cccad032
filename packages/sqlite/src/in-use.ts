import { BackupError } from '@taskflow-backup/core'
import type { Opener } from './jobs.ts'

/** Throws `DATABASE_IN_USE` when anybody has the database open; `ownPid` is the app's process. */
export function refuseOpeners(file: string, openers: readonly Opener[], ownPid: number): void {
  if (openers.length === 0) return
  const names = openers.map(({ pid, command }) => (pid === ownPid ? 'this process' : `process ${pid} (${command})`))
  throw new BackupError('DATABASE_IN_USE', `${file} is open in ${names.join(', ')}.`)
}
