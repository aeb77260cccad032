import { readdirSync, readlinkSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import type { Opener } from '../jobs.ts'

/**
 * Other processes that have `file` open, as far as this user may look. Linux only; elsewhere nothing is found, and
 * SQLite's locks alone have to tell.
 */
export function findOpeners(file: string): Opener[] {
  const wanted = statSync(file, { throwIfNoEntry: false })
  if (!wanted || process.platform !== 'linux') return []
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
  return pids.filter((pid) => hasOpen(pid, wanted)).map((pid) => ({ pid: Number(pid), command: commandOf(pid) }))
}

function hasOpen(pid: string, wanted: { dev: number; ino: number }): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      const found = statSync(`/proc/${pid}/fd/${fd}`, { throwIfNoEntry: false })
      return found !== undefined && found.ino === wanted.ino && found.dev === wanted.dev
    })
  } catch {
    return false // ended meanwhile, or another user's
  }
}

/** The program's name only: its arguments may hold secrets. Not that of its thread, which Node calls `MainThread`. */
function commandOf(pid: string): string {
  try {
    return basename(readlinkSync(`/proc/${pid}/exe`)).replace(/ \(deleted\)$/, '')
  } catch {
    return 'unknown'
  }
}
