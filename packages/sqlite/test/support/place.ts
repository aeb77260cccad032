import type { ChildProcess } from 'node:child_process'
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type AdapterContext,
  type BackupPlan,
  type BackupPlanOptions,
  defineBackupPlan,
  directory,
} from '@taskflow-backup/core'
import { test as base } from 'vitest'
import { type SqliteOptions, sqlite } from '../../src/index.ts'
import { type Agent, kill, type RunningWriter, type ScriptOptions, startAgent, startWriter } from './processes.ts'
import type { WriterOrders } from './writer.ts'

/** Folders and processes of one test, gone when it has ended. */
export class Place {
  readonly folder: string
  /** Folder of the live database, with nothing else in it. */
  readonly app: string
  readonly file: string
  readonly backups: string
  /** Folder for temporary files of the library. */
  readonly temporary: string
  readonly #children: ChildProcess[] = []
  readonly #endings: (() => unknown)[] = []

  private constructor(folder: string) {
    this.folder = folder
    this.app = join(folder, 'app')
    this.file = join(this.app, 'tasks.db')
    this.backups = join(folder, 'backups')
    this.temporary = join(folder, 'temporary')
  }

  static async make(): Promise<Place> {
    const place = new Place(await fs.realpath(await fs.mkdtemp(join(tmpdir(), 'taskflow-sqlite-'))))
    await fs.mkdir(place.app)
    await fs.mkdir(place.temporary)
    return place
  }

  /** Is run when the test has ended, before the folders are removed. */
  atEnd(work: () => unknown): void {
    this.#endings.unshift(work)
  }

  async clear(): Promise<void> {
    await Promise.all(this.#children.map(kill))
    for (const work of this.#endings) await work()
    await fs.rm(this.folder, { recursive: true, force: true })
  }

  plan(options: Partial<BackupPlanOptions> & { readonly sqlite?: Partial<SqliteOptions> } = {}): BackupPlan {
    const { sqlite: adapterOptions, ...rest } = options
    return defineBackupPlan({
      name: 'tasks',
      adapter: sqlite({ file: this.file, ...adapterOptions }),
      destinations: [directory(this.backups)],
      temporaryDirectory: this.temporary,
      ...rest,
    })
  }

  context(more: Partial<AdapterContext> = {}): AdapterContext {
    const { runtime } = this.plan()
    return { ...runtime, signal: new AbortController().signal, onProgress: () => {}, onWarning: () => {}, ...more }
  }

  /** A file of this test that is not the live database. */
  path(name: string): string {
    return join(this.folder, name)
  }

  /**
   * Names beside the live database, sorted, without an empty log and its index: SQLite leaves those behind when the
   * last connection was one that may only read.
   */
  async besideLive(): Promise<string[]> {
    const names = (await fs.readdir(this.app)).sort()
    const log = await fs.stat(`${this.file}-wal`).catch(() => undefined)
    return names.filter((name) => !name.endsWith('-shm') && !(name.endsWith('-wal') && log?.size === 0))
  }

  async agent(options: ScriptOptions = {}): Promise<Agent> {
    const { agent, child } = await startAgent(options)
    this.#children.push(child)
    return agent
  }

  async writer(orders: WriterOrders): Promise<RunningWriter> {
    const { writer, child } = await startWriter(orders)
    this.#children.push(child)
    return writer
  }

  track(child: ChildProcess): ChildProcess {
    this.#children.push(child)
    return child
  }
}

/** Vitest's `test` with a {@link Place} of its own for each test. */
export const test = base.extend<{ place: Place }>({
  place: async ({ task: _ }, use) => {
    const place = await Place.make()
    try {
      await use(place)
    } finally {
      await place.clear()
    }
  },
})
