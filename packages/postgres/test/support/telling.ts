// For a process that is to be killed: says on its output what it is about to do, so that a kill can be told where it hit,
// or can be ordered there.
import { type ChildProcess, spawn } from 'node:child_process'
import { writeSync } from 'node:fs'
import { basename } from 'node:path'
import type { BackupEvent, Runtime } from '@taskflow-backup/core'

let lines = 0
let killAt: KillAt | undefined
const said = new Map<string, number>()
let progress: string | undefined

/** The n-th thing that is said, or the n-th time that one thing is. */
export type KillAt = number | { readonly text: string; readonly time: number }

/** Has the process kill itself when it has said something; nothing comes after that. */
export function dieAt(when: KillAt | undefined): void {
  killAt = when
}

export function say(text: string): void {
  progress = undefined
  writeSync(1, `${text}\n`)
  const times = (said.get(text) ?? 0) + 1
  said.set(text, times)
  lines++
  const isNow = typeof killAt === 'object' ? killAt.text === text && killAt.time === times : killAt === lines
  if (isNow) process.kill(process.pid, 'SIGKILL')
}

export function onEvent(event: BackupEvent): void {
  // How often progress is told depends on how busy the machine is.
  if (event.type !== 'progress' || event.phase === progress) return
  say(event.phase)
  progress = event.phase
}

/** Tells what the verbs ask of it. */
export const telling: Partial<Runtime> = {
  /** Asked for just before each thing gets its name: the renames of a promote are between two of them. */
  randomId(length) {
    say(`id of ${length}`)
    return Array.from({ length }, () => Math.floor(Math.random() * 36).toString(36)).join('')
  },
  /** Tells which program is started, and when it has ended. */
  spawn: ((command: string, args: readonly string[], options: object): ChildProcess => {
    const name = command === process.execPath ? 'child' : basename(command)
    say(`before ${name}`)
    const child = spawn(command, args, options)
    say(`after ${name}`)
    child.once('exit', () => say(`end of ${name}`))
    return child
  }) as Runtime['spawn'],
}
