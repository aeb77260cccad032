import { execFile, spawnSync } from 'node:child_process'
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createBackup, defineBackupPlan, directory } from '../packages/core/src/index.ts'
import { sqlite } from '../packages/sqlite/src/index.ts'
import { cutIntoLogs, encodeChanges, storeMember } from '../packages/sqlite/test/support/history.ts'
import { recordDatabase, tasksAfter } from '../packages/sqlite/test/support/real-history.ts'
import { readBlocks, root } from './docs/markdown.ts'

// The commands of docs/recover-by-hand.md, run as they stand there by bash and the real tools. Only the three places
// that the page names are moved into the test's folder.

const Database = createRequire(join(root, 'packages', 'sqlite', 'package.json'))('better-sqlite3')
const TOOLS = ['bash', 'sha256sum', 'sed', 'grep', 'sqlite3']
const ROWS = 30_000

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'taskflow recover '))
})

afterEach(() => rm(folder, { recursive: true, force: true }))

test.each(['zstd', 'gzip'] as const)('a backup that was stored with %s comes back', async (compression) => {
  await expectRecovery(compression)
})

async function expectRecovery(compression: 'zstd' | 'gzip'): Promise<void> {
  const live = await makeLiveDatabase()
  const plan = defineBackupPlan({
    name: 'taskmanagement',
    adapter: sqlite({ file: live }),
    destinations: [directory(join(folder, 'backups'))],
    compression,
  })
  await createBackup(plan)
  loseRows(live)
  const printed = await runPage(commands(compression))
  expect(printed).toContain('The stored file is whole.')
  expect(printed).toContain('The database file is what was backed up.')
  expect(printed.match(/^ok$/gm)).toHaveLength(2)
  const restored = new Database(live)
  expect(restored.prepare('SELECT count(*) FROM tasks').pluck().get()).toBe(ROWS)
  expect(restored.pragma('foreign_key_check')).toEqual([])
  restored.close()
  const kept = new Database(join(folder, 'srv', 'before-recovery', 'taskmanagement.db'))
  expect(kept.prepare('SELECT count(*) FROM tasks').pluck().get()).toBe(1)
  kept.close()
}

async function makeLiveDatabase(): Promise<string> {
  await mkdir(join(folder, 'srv'))
  await mkdir(join(folder, 'tmp'))
  const file = join(folder, 'srv', 'taskmanagement.db')
  const database = new Database(file)
  database.pragma('journal_mode = WAL')
  database.exec(`
    CREATE TABLE tasks (id INTEGER PRIMARY KEY, title TEXT NOT NULL);
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${ROWS})
    INSERT INTO tasks SELECT i, 'Call customer ' || i || ' about invoice ' || (i * 7919 % 100000) FROM n;
  `)
  database.close()
  await chmod(file, 0o640)
  return file
}

/** In a process that is killed, so that a log stays beside the database, as after a crash of the app. */
function loseRows(file: string): void {
  const code = `
    const Database = require('better-sqlite3')
    const database = new Database(process.argv[1])
    database.pragma('wal_autocheckpoint = 0')
    database.exec('DELETE FROM tasks WHERE id > 1')
    process.kill(process.pid, 'SIGKILL')`
  const { signal } = spawnSync(process.execPath, ['-e', code, file], { cwd: join(root, 'packages', 'sqlite') })
  expect(signal).toBe('SIGKILL')
}

/** The commands of the page for a member of this compression. */
function commands(compression: 'zstd' | 'gzip'): string {
  const blocks = readBlocks('docs/recover-by-hand.md').filter(({ language }) => language === 'sh')
  const chosen = blocks.filter(({ code, info }) => {
    const unpacks = /^(zstd|gzip) /.exec(code)?.[1]
    return unpacks === undefined ? info === '' : unpacks === compression
  })
  const script = chosen.map(({ code }) => code).join('')
  return compression === 'gzip' ? script.replaceAll('.db.zst', '.db.gz') : script
}

async function runPage(script: string): Promise<string> {
  const moved = script
    .replaceAll('/var/backups/taskflow', `"$FOLDER"/backups`)
    .replaceAll('/srv/taskflow', `"$FOLDER"/srv`)
    .replaceAll('/tmp/', `"$FOLDER"/tmp/`)
  const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', moved], {
    env: { ...process.env, FOLDER: folder },
  })
  return stdout
}

beforeEach((context) => {
  const needed = [...TOOLS, context.task.name.includes('zstd') ? 'zstd' : 'gzip']
  const missing = needed.filter((tool) => spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0)
  if (missing.length > 0) context.skip(`${missing.join(', ')} not found`)
})

test('a full and its logs lead to a moment, with zstd and python3', async ({ skip }) => {
  skip(spawnSync('python3', ['--version']).status !== 0, 'python3 not found')
  const history = recordDatabase(join(folder, 'recorded.db'), 12, 2)
  const chain = join(folder, 'backups', 'taskmanagement', '20261122T020000000Z-k3f9')
  const store = async (backup: string, name: string, plain: Buffer): Promise<void> => {
    const { member, stored } = await storeMember(name, plain, { algorithm: 'zstd', level: 3 })
    await mkdir(join(chain, backup), { recursive: true })
    await writeFile(join(chain, backup, member.file), stored)
  }
  await store('20261122T020000000Z-full', 'taskmanagement_backup_20261122_020000.db', history.states[0] as Buffer)
  for (const [i, steps] of cutIntoLogs(history.steps, [2, 4]).entries())
    await store(
      `20261122T02000${i + 2}000Z-log`,
      `taskmanagement_backup_20261122_02000${i + 2}.changes`,
      encodeChanges(steps),
    )
  await mkdir(join(folder, 'tmp'))
  await copyFile(join(root, 'docs', 'restore-sqlite-changes.py'), join(folder, 'tmp', 'restore-sqlite-changes.py'))
  const [block] = readBlocks('docs/recover-by-hand.md').filter(({ info }) => info === 'changes')
  expect(await runPage(block?.code ?? '')).toMatch(/is at commit 6\.\nok\n$/)
  const restored = new Database(join(folder, 'tmp', 'recovered.db'))
  expect(restored.prepare('SELECT count(*) FROM task').pluck().get()).toBe(tasksAfter(6))
  restored.close()
})

test('the checksum of a manifest is what the page about the format says', async () => {
  const [manifest] = readBlocks('docs/format.md').filter(({ language }) => language === 'json')
  const [command] = readBlocks('docs/format.md').filter(({ language }) => language === 'sh')
  const file = join(folder, 'manifest.json')
  await import('node:fs/promises').then((fs) => fs.writeFile(file, manifest?.code ?? ''))
  const { stdout } = await promisify(execFile)('bash', ['-c', command?.code ?? ''], { cwd: folder })
  const { checksum } = JSON.parse(await readFile(file, 'utf8'))
  expect(stdout.split(' ')[0]).toBe(checksum)
})
