import { readdir, readFile, readlink, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** What a running server writes into the file `postmaster.pid` of its data directory. */
export interface PostmasterFile {
  readonly pid: number
  /** `starting`, `ready`, `standby` or `stopping`; absent while the file is being written. */
  readonly status?: string
}

/** `undefined` when no server runs, or ran, there. */
export async function readPostmasterFile(dataDirectory: string): Promise<PostmasterFile | undefined> {
  const text = await readFile(join(dataDirectory, 'postmaster.pid'), 'utf8').catch(() => '')
  const lines = text.split('\n')
  const pid = Math.abs(Number.parseInt(lines[0] ?? '', 10)) // negative: one that was started to do a single thing
  if (!Number.isSafeInteger(pid) || pid === 0) return undefined
  const status = lines[7]?.trim()
  return { pid, ...(status && { status }) }
}

/** Process id of the server that runs on a data directory; `undefined` when none does. */
export async function runningPostmaster(dataDirectory: string): Promise<number | undefined> {
  const pid = (await readPostmasterFile(dataDirectory))?.pid
  if (pid === undefined || !(await isRunning(pid))) return undefined
  // A server works in its data directory. Where that cannot be asked, a living process counts as the server.
  const folder = await readlink(`/proc/${pid}/cwd`).catch(() => undefined)
  if (folder === undefined) return pid
  return folder === (await realpath(dataDirectory).catch(() => dataDirectory)) ? pid : undefined
}

/** Servers whose command line says that their data directory is below `folder`, and the one of its pid file. */
export async function postmastersBelow(folder: string, dataDirectory: string): Promise<number[]> {
  const own = await runningPostmaster(dataDirectory)
  const below = await processesWith((words) => {
    const at = words.indexOf('-D')
    return at > 0 && words[at + 1]?.startsWith(`${folder}/`) === true
  })
  return [...new Set(own === undefined ? below : [own, ...below])]
}

/** Servers that were started with the configuration in `folder`. */
export const postmastersIn = (folder: string): Promise<number[]> =>
  processesWith((words) => words.includes('-D') && words.includes(`config_file=${folder}/postgresql.conf`))

/** Other processes with such a command line, where the system lists them. */
async function processesWith(matches: (words: readonly string[]) => boolean): Promise<number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc').catch((): string[] => [])) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue
    if (matches((await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')).split('\0'))) found.push(Number(name))
  }
  return found
}

/** Sends a signal and waits until the process is gone. False when it is still there after `patienceMs`. */
export async function endProcess(pid: number, signal: NodeJS.Signals, patienceMs: number): Promise<boolean> {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return true
    throw error
  }
  const end = performance.now() + patienceMs
  while (await isRunning(pid)) {
    if (performance.now() > end) return false
    await sleep(20)
  }
  return true
}

/** Whether there is such a process that has not ended. */
async function isRunning(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return stat.slice(stat.lastIndexOf(')') + 2)[0] !== 'Z' // one that only waits for its parent to take notice
}
