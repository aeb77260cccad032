import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BackupAdapter } from '@taskflow-backup/core'
import { type AdapterInstance, spawnToKill } from '@taskflow-backup/testing'
import Database from 'better-sqlite3'
import { sqlite } from '../../src/index.ts'
import { addTask, createTasks } from './tasks.ts'
import './processes.ts'

/** A database of tasks with its adapter, in a folder of its own. */
export async function create(journalMode: 'wal' | 'delete'): Promise<AdapterInstance> {
  const folder = await mkdtemp(join(tmpdir(), 'taskflow-sqlite-'))
  const app = join(folder, 'app')
  const file = join(app, 'tasks.db')
  await mkdir(app)
  createTasks(file, ['one', 'two'], journalMode)
  const real = sqlite({ file })
  let failing = false
  const adapter: BackupAdapter = {
    ...real,
    backup(request, ctx) {
      if (!failing) return real.backup(request, ctx)
      failing = false
      return real.backup(request, { ...ctx, spawn: spawnToKill(ctx.spawn) })
    },
  }
  const stateOf = async (location: unknown): Promise<unknown> => {
    const database = new Database(location as string, { fileMustExist: true })
    const rows = database.prepare('SELECT * FROM task ORDER BY id').all()
    database.close()
    return rows
  }
  return {
    adapter,
    mutate: async () => addTask(file, `task ${Math.random()}`),
    state: () => stateOf(file),
    stateOf,
    placeFor: async (name) => join(folder, `${name}.db`),
    destroy: () => rm(folder, { recursive: true, force: true }),
    async leftovers() {
      return (await readdir(app)).filter((name) => !/^tasks\.db(-wal|-shm|\.before-restore-.*)?$/.test(name))
    },
    async breakLog() {
      const database = new Database(file)
      database.pragma('journal_mode = delete')
      database.pragma('page_size = 8192')
      database.exec('VACUUM')
      database.pragma(`journal_mode = ${journalMode}`)
      database.close()
    },
    async failSource() {
      failing = true
      const database = new Database(file)
      database.exec('CREATE TABLE filler (v); INSERT INTO filler VALUES (randomblob(12000000))')
      database.close()
    },
    async corrupt() {
      const bytes = await readFile(file)
      await writeFile(file, bytes.fill(0x5a, 4096, 8192))
    },
  }
}
