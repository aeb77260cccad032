// Does one job, and says on its output what it is about to do, so that a kill can be told where it hit.
import { type ChildProcess, spawn } from 'node:child_process'
import { writeSync } from 'node:fs'
import {
  type BackupEvent,
  createBackup,
  defineBackupPlan,
  directory,
  keepLast,
  pruneBackups,
  type Runtime,
  restoreBackup,
  type Storage,
  type UndoRecord,
  undoRestore,
} from '@taskflow-backup/core'
import { sqlite } from '../../src/index.ts'

export type KillJob = 'backup' | 'differential' | 'prune' | 'restore' | 'undo'

export interface KillOrders {
  readonly job: KillJob
  readonly file: string
  readonly backups: string
  readonly temporary: string
  /** Kill itself at the n-th thing it says; nothing comes after that. */
  readonly killAt?: { readonly line: number; readonly wholeGroup: boolean }
  /** Only for `undo`. */
  readonly undo?: UndoRecord
}

let lines = 0
let killAt: KillOrders['killAt']

function say(phase: string): void {
  writeSync(1, `${phase}\n`)
  if (++lines === killAt?.line) process.kill(killAt.wholeGroup ? -process.pid : process.pid, 'SIGKILL')
}

process.once('disconnect', () => process.exit())
process.once('message', async (orders: KillOrders) => {
  const { job, file, backups, temporary, undo } = orders
  killAt = orders.killAt
  const plan = defineBackupPlan({
    name: 'tasks',
    adapter: sqlite({ file }),
    destinations: [telling(directory(backups))],
    retention: keepLast(2),
    temporaryDirectory: temporary,
    runtime: { spawn: tellingSpawn as Runtime['spawn'] },
  })
  const onEvent = (event: BackupEvent): void => {
    if (event.type === 'progress') say(event.phase)
  }
  say('start')
  try {
    if (job === 'backup') await createBackup(plan, { onEvent })
    else if (job === 'differential') await createBackup(plan, { kind: 'differential', onEvent })
    else if (job === 'prune') await pruneBackups(plan, { onEvent })
    else if (job === 'restore') await restoreBackup(plan, { onEvent })
    else await undoRestore(plan, undo as UndoRecord, { onEvent })
  } catch (error) {
    say(`failed: ${error}`)
  }
  say('done')
})
process.send?.({ ready: true })

/** Tells before each call that changes something. */
function telling(storage: Storage): Storage {
  const kind = (key: string): string => /(lock|manifest|verified)[^/]*$/.exec(key)?.[1] ?? 'member'
  return {
    ...storage,
    put: (key, body, options) => {
      say(`put ${kind(key)}`)
      return storage.put(key, body, options)
    },
    delete: (key) => {
      say(`delete ${kind(key)}`)
      return storage.delete(key)
    },
  }
}

/** Tells which job each child gets, and when it has ended. */
function tellingSpawn(command: string, args: readonly string[], options: object): ChildProcess {
  const child = spawn(command, args, options)
  const send = child.send.bind(child) as (message: object, sent: (error: Error | null) => void) => boolean
  child.send = ((message: { job: string }, sent: (error: Error | null) => void) => {
    say(`child ${message.job}`)
    child.once('exit', () => say(`after ${message.job}`))
    return send(message, sent)
  }) as ChildProcess['send']
  return child
}
