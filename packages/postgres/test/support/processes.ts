import { readdirSync, readFileSync } from 'node:fs'

// Processes of this machine, as Linux lists them.

export interface RunningProcess {
  readonly pid: number
  readonly args: readonly string[]
}

/** All processes that this user may look at. */
export function runningProcesses(): RunningProcess[] {
  return readdirSync('/proc').flatMap((name) => {
    const pid = Number(name)
    const args = Number.isInteger(pid) ? textOf(pid, 'cmdline').split('\0').slice(0, -1) : []
    return args.length > 0 ? [{ pid, args }] : []
  })
}

/** PostgreSQL's client programs that are connected, or about to be, to the server whose socket is in `folder`. */
export function programsOn(folder: string): string[] {
  return runningProcesses()
    .filter(({ pid, args }) => {
      const isProgram = /(^|\/)(pg_dump|pg_dumpall|pg_restore|psql)$/.test(args[0] ?? '')
      return isProgram && textOf(pid, 'environ').split('\0').includes(`PGHOST=${folder}`)
    })
    .map(({ pid, args }) => `${pid} ${args.join(' ')}`)
}

function textOf(pid: number, what: string): string {
  try {
    return readFileSync(`/proc/${pid}/${what}`, 'utf8')
  } catch {
    return '' // it has ended, or is another user's
  }
}
