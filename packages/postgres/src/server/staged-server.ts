import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type AdapterContext, abortError, BackupError, throwIfAborted } from '@taskflow-backup/core'
import type { Owner } from '../physical/lay-out-job.ts'
import { readControlFile } from './control-file.ts'
import { readPostmasterFile } from './postmaster.ts'
import { privateSettings, type Settings, settingArguments, settingLines } from './settings.ts'

const POLL_MS = 25
const LOG_BYTES = 6_000
/** How long a server that was told to stop at once may take before it is killed. */
const QUIT_MS = 5_000

export interface StagedServerOptions {
  readonly program: string
  readonly major: number
  readonly dataDirectory: string
  /** Private folder for its socket, log and configuration. */
  readonly folder: string
  readonly socketFolder: string
  readonly runAs: Owner | undefined
  /** Recovery, and whatever else goes before its own configuration. */
  readonly settings: Settings
  /** It may outlive this process, see {@link StagedServer.release}. Default: false. */
  readonly detached?: boolean
}

/** How the attempt to start a server ended. */
export type StartOutcome = { readonly ready: true } | { readonly ready: false; readonly log: string }

/** A server on a restored data directory, that nobody but us can reach. */
export class StagedServer {
  readonly #options: StagedServerOptions
  readonly #ctx: AdapterContext
  #process: ChildProcess | undefined

  constructor(options: StagedServerOptions, ctx: AdapterContext) {
    this.#options = options
    this.#ctx = ctx
  }

  /**
   * Starts it and waits until it has recovered and takes connections. An outcome that is not `ready` means that it
   * ended by itself.
   *
   * @throws `PROGRAM_FAILED` when it takes longer than `timeoutMs`, `ABORTED`
   */
  async start(timeoutMs: number): Promise<StartOutcome> {
    const { program, dataDirectory, folder, runAs, detached = false } = this.#options
    await this.#writeConfiguration()
    const log = await fs.open(join(folder, 'log'), 'w', 0o600)
    try {
      if (runAs) await log.chown(runAs.uid, runAs.gid)
      this.#process = this.#ctx.spawn(program, ['-D', dataDirectory, ...this.#arguments()], {
        ...runAs,
        cwd: '/',
        env: environment(),
        stdio: ['ignore', log.fd, log.fd],
        windowsHide: true,
        // Else what ends a group of processes, like Ctrl+C at a terminal, would end it as well.
        detached,
      })
      this.#process.once('error', () => {}) // has no exit code, then: see below
    } finally {
      await log.close()
    }
    const end = performance.now() + timeoutMs
    for (;;) {
      throwIfAborted(this.#ctx.signal)
      if (this.#hasEnded()) return { ready: false, log: await this.log() }
      const file = await readPostmasterFile(dataDirectory)
      if (file?.status === 'ready' && file.pid === this.#process.pid) return { ready: true }
      if (performance.now() > end) {
        throw new BackupError(
          'PROGRAM_FAILED',
          `The restored cluster was not recovered within ${timeoutMs} ms. ${await this.log()}`,
          { hint: 'Raise `physical.recoveryTimeoutMs`, or restore a newer full backup, which has less log to replay.' },
        )
      }
      await sleep(POLL_MS, undefined, { signal: this.#ctx.signal }).catch(() => {
        throw abortError(this.#ctx.signal)
      })
    }
  }

  /** The end of what it said. */
  async log(): Promise<string> {
    const text = await fs.readFile(join(this.#options.folder, 'log'), 'utf8').catch(() => '')
    return text.slice(-LOG_BYTES).trim()
  }

  /**
   * Ends it cleanly: everything is in its files.
   *
   * @throws `PROGRAM_FAILED` when it is not
   */
  async stop(timeoutMs: number): Promise<void> {
    await this.#end('SIGINT', timeoutMs)
    const { shutDown } = await readControlFile(this.#options.dataDirectory)
    if (!shutDown)
      throw new BackupError('PROGRAM_FAILED', `The restored cluster did not stop cleanly. ${await this.log()}`)
  }

  /** Ends it at once; what it was doing is of no interest any more. */
  async quit(): Promise<void> {
    await this.#end('SIGQUIT', QUIT_MS)
  }

  /** Leaves it running: from now on it does not keep this process from ending. */
  release(): void {
    this.#process?.unref()
  }

  async #end(signal: NodeJS.Signals, patienceMs: number): Promise<void> {
    const child = this.#process
    if (!child || this.#hasEnded()) return
    const ended = once(child, 'exit')
    child.kill(signal)
    const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs)
    try {
      await ended
    } finally {
      clearTimeout(timer)
    }
  }

  #hasEnded(): boolean {
    const child = this.#process
    return !child || child.pid === undefined || child.exitCode !== null || child.signalCode !== null
  }

  #arguments(): string[] {
    const { dataDirectory, folder, socketFolder, major, settings } = this.#options
    const own = {
      config_file: `${folder}/postgresql.conf`,
      // What its own configuration says counts for more than -D: it would run on the live cluster's files.
      data_directory: dataDirectory,
    }
    return settingArguments({ ...own, ...privateSettings(socketFolder, folder, major), ...settings })
  }

  async #writeConfiguration(): Promise<void> {
    const { folder, dataDirectory, runAs } = this.#options
    const own = join(dataDirectory, 'postgresql.conf')
    // Some systems keep the configuration elsewhere, so that no backup has it.
    const text = existsSync(own)
      ? `include '${own.replaceAll("'", "''")}'\n`
      : settingLines((await readControlFile(dataDirectory)).settings)
    for (const [name, content] of [
      ['postgresql.conf', text],
      ['pg_hba.conf', 'local all all trust\n'],
      ['pg_ident.conf', ''],
    ] as const) {
      const file = join(folder, name)
      await fs.writeFile(file, content, { mode: 0o600 })
      if (runAs) await fs.chown(file, runAs.uid, runAs.gid)
    }
  }
}

/** Nothing of the app's that would lead it elsewhere, and none of its secrets. */
function environment(): NodeJS.ProcessEnv {
  const { PATH, HOME, TZ, LD_LIBRARY_PATH, DYLD_LIBRARY_PATH, SystemRoot, TEMP, TMP } = process.env
  const kept = { PATH, HOME, TZ, LD_LIBRARY_PATH, DYLD_LIBRARY_PATH, SystemRoot, TEMP, TMP }
  return { ...Object.fromEntries(Object.entries(kept).filter(([, value]) => value !== undefined)), LC_ALL: 'C' }
}
