// Does one restore or undo, and says on its output what it is about to do, so that a kill can be told where it hit.
import { type ChildProcess, spawn } from 'node:child_process'
import { writeSync } from 'node:fs'
import {
  type BackupEvent,
  defineBackupPlan,
  directory,
  type JsonValue,
  type Runtime,
  restoreBackup,
  type UndoRecord,
  undoRestore,
} from '@taskflow-backup/core'
import { type PostgresOptions, postgres } from '../../src/index.ts'

export interface RestoreOrders {
  readonly options: PostgresOptions
  readonly backups: string
  readonly temporary: string
  /** Restores here instead of over the live cluster. */
  readonly to?: JsonValue
  /** Takes this back instead of restoring. */
  readonly undo?: UndoRecord
  /** Kill itself at the n-th thing it says; nothing comes after that. */
  readonly killAt?: number
}

let lines = 0
let killAt: number | undefined
let progress: string | undefined

function say(phase: string): void {
  progress = undefined
  writeSync(1, `${phase}\n`)
  if (++lines === killAt) process.kill(process.pid, 'SIGKILL')
}

process.once('disconnect', () => process.exit())
process.once('message', async (orders: RestoreOrders) => {
  killAt = orders.killAt
  const plan = defineBackupPlan({
    name: 'app',
    adapter: postgres(orders.options),
    destinations: [directory(orders.backups)],
    temporaryDirectory: orders.temporary,
    runtime: { spawn: tellingSpawn as Runtime['spawn'], randomId },
  })
  const onEvent = (event: BackupEvent): void => {
    // How often progress is told depends on how busy the machine is.
    if (event.type !== 'progress' || event.phase === progress) return
    say(event.phase)
    progress = event.phase
  }
  try {
    if (orders.undo) {
      process.send?.({ undo: await undoRestore(plan, orders.undo, { onEvent }) })
    } else {
      const { to } = orders
      const { undo, findings } = await restoreBackup(plan, { onEvent, ...(to !== undefined && { to }) })
      process.send?.({ undo, findings })
    }
    say('done')
  } catch (error) {
    say(`failed: ${error}`)
  }
})
process.send?.({ ready: true })

/** Asked for just before each thing gets its name: the renames of a promote are between two of them. */
function randomId(length: number): string {
  say(`id of ${length}`)
  return Array.from({ length }, () => Math.floor(Math.random() * 36).toString(36)).join('')
}

/** Tells which program is started, and when it has ended. */
function tellingSpawn(command: string, args: readonly string[], options: object): ChildProcess {
  const name = command.endsWith('postgres') ? 'server' : 'child'
  say(`before ${name}`)
  const child = spawn(command, args, options)
  say(`after ${name}`)
  child.once('exit', () => say(`end of ${name}`))
  return child
}
