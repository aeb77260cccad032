import { readFile, readlink } from 'node:fs/promises'
import { hostname } from 'node:os'

/** Names one running process, so that others can tell whether it still runs. Plain data. */
export interface ProcessIdentity {
  readonly host: string
  readonly pid: number
  /** Tells boots of one machine and containers with the same name apart. Linux only. */
  readonly realm?: string
  /** Clock ticks from boot to the start of the process: a reused process id has another. Linux only. */
  readonly startTicks?: string
}

/** Stays the same for as long as the process lives, once it could be read. */
let known: Pick<ProcessIdentity, 'realm' | 'startTicks'> = {}

/** The identity of this process. */
export async function ownIdentity(): Promise<ProcessIdentity> {
  if (known.realm === undefined || known.startTicks === undefined) {
    const [realm, startTicks] = await Promise.all([realmOfThisProcess(), startTicksOf(process.pid)])
    known = { ...(realm && { realm }), ...(startTicks && { startTicks }) }
  }
  return { host: hostname(), pid: process.pid, ...known }
}

/** Whether the process still runs; `unknown` when it belongs to another machine, container or boot. */
export async function livenessOf(identity: ProcessIdentity): Promise<'alive' | 'dead' | 'unknown'> {
  if (identity.host !== hostname() || identity.realm !== (await realmOfThisProcess())) return 'unknown'
  try {
    process.kill(identity.pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return 'dead'
  }
  if (identity.startTicks === undefined) return 'alive'
  const now = await startTicksOf(identity.pid)
  return now === undefined || now === identity.startTicks ? 'alive' : 'dead'
}

async function realmOfThisProcess(): Promise<string | undefined> {
  try {
    const [boot, space] = await Promise.all([
      readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
      readlink('/proc/self/ns/pid'),
    ])
    return `${boot.trim()} ${space}`
  } catch {
    return undefined
  }
}

async function startTicksOf(pid: number): Promise<string | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8')
    // The second field is the program's name in brackets and may hold anything: count from the last bracket.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    // A zombie runs no more; it waits for its parent to read its exit code.
    return fields[0] === 'Z' ? 'ended' : fields[19]
  } catch {
    return undefined
  }
}
