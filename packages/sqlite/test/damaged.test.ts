import { existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import {
  createBackup,
  memory,
  type RestoreCheck,
  restoreBackup,
  undoRestore,
  verifyBackup,
} from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import { type Place, test } from './support/place.ts'
import { createTasks, tasksIn } from './support/tasks.ts'

const TITLES = Array.from({ length: 60 }, (_, i) => `task ${i} ${'x'.repeat(200)}`)

/** Overwrites a page of a closed database with noise. */
function damagePage(file: string, page: number): void {
  const bytes = readFileSync(file)
  bytes.fill(0x5a, (page - 1) * 4096, page * 4096)
  writeFileSync(file, bytes)
}

describe('a damaged live database is replaced, and kept as it is', () => {
  const damages: Record<string, (file: string) => void> = {
    'garbage all over': (file) => writeFileSync(file, 'x'.repeat(9_000)),
    'a header that is none': (file) =>
      writeFileSync(file, Buffer.concat([Buffer.alloc(100), readFileSync(file).subarray(100)])),
    'a page that is noise': (file) => damagePage(file, 3),
    'the first page but its header': (file) => writeFileSync(file, readFileSync(file).fill(0xff, 100, 4096)),
    'zero bytes': (file) => truncateSync(file, 0),
    'cut short': (file) => truncateSync(file, 5_000),
  }

  test.for(Object.keys(damages))('%s', async (name, { place }) => {
    createTasks(place.file, TITLES)
    const plan = place.plan()
    await createBackup(plan)
    damages[name]?.(place.file)
    const damaged = readFileSync(place.file)
    const { undo } = await restoreBackup(plan)
    expect(tasksIn(place.file)).toEqual(TITLES)
    expect(readFileSync(undo.kept as string).equals(damaged)).toBe(true)
    await undoRestore(plan, undo)
    expect(readFileSync(place.file).equals(damaged)).toBe(true)
    expect(readdirSync(place.temporary)).toEqual([])
  })

  test('with its log, which undo brings back as well', async ({ place }) => {
    await crashWithLog(place)
    const plan = place.plan()
    await createBackup(plan)
    writeFileSync(place.file, 'x'.repeat(9_000))
    const log = readFileSync(`${place.file}-wal`)
    const { undo } = await restoreBackup(plan)
    expect(tasksIn(place.file)).toEqual(['in the file', 'in the log'])
    expect(readFileSync(`${undo.kept}-wal`).equals(log)).toBe(true)
    expect(existsSync(`${place.file}-wal`)).toBe(false)
    await undoRestore(plan, undo)
    expect(readFileSync(`${place.file}-wal`).equals(log)).toBe(true)
    expect(readFileSync(place.file, 'utf8')).toBe('x'.repeat(9_000))
  })
})

describe('a live database that its app left in the middle', () => {
  test('rows that are in its log only are in the kept database, and not in the restored one', async ({ place }) => {
    createTasks(place.file, ['backed up'])
    const plan = place.plan()
    await createBackup(plan)
    await crashWithLog(place)
    expect(statSync(`${place.file}-wal`).size).toBeGreaterThan(0)
    const { undo } = await restoreBackup(plan)
    expect(existsSync(`${place.file}-wal`)).toBe(false)
    expect(tasksIn(place.file)).toEqual(['backed up'])
    expect(tasksIn(undo.kept as string)).toEqual(['backed up', 'in the file', 'in the log'])
    await undoRestore(plan, undo)
    expect(tasksIn(place.file)).toEqual(['backed up', 'in the file', 'in the log'])
  })

  test('a transaction that its journal takes back is in neither', async ({ place }) => {
    createTasks(place.file, TITLES, 'delete')
    const plan = place.plan()
    await createBackup(plan)
    const app = await place.agent()
    await app.run(({ Database, held }, file) => {
      held.a = new Database(file)
      held.a.exec("INSERT INTO task (title) VALUES ('committed')")
      held.a.pragma('cache_size = 2')
      held.a.exec("BEGIN; UPDATE task SET title = 'torn' || hex(zeroblob(500))")
    }, place.file)
    await app.kill()
    expect(statSync(`${place.file}-journal`).size).toBeGreaterThan(0)
    const { undo } = await restoreBackup(plan)
    expect(tasksIn(place.file)).toEqual(TITLES)
    expect(tasksIn(undo.kept as string)).toEqual([...TITLES, 'committed'])
    expect(existsSync(`${place.file}-journal`)).toBe(false)
  })
})

async function crashWithLog(place: Place): Promise<void> {
  if (!existsSync(place.file)) createTasks(place.file, [])
  const app = await place.agent()
  await app.run(({ Database, held }, file) => {
    held.a = new Database(file)
    held.a.pragma('wal_autocheckpoint = 0')
    held.a.exec("INSERT INTO task (title) VALUES ('in the file')")
    held.a.pragma('wal_checkpoint(PASSIVE)')
    held.a.exec("INSERT INTO task (title) VALUES ('in the log')")
  }, place.file)
  await app.kill()
}

describe('a backup that does not pass', () => {
  test('of a damaged database fails at level restored only, and is not restored', async ({ place }) => {
    createTasks(place.file, TITLES)
    damagePage(place.file, 3)
    const plan = place.plan()
    await createBackup(plan)
    await verifyBackup(plan, { level: 'decoded' })
    const failed = {
      details: {
        destinations: [
          {
            passed: false,
            findings: expect.arrayContaining([
              expect.objectContaining({ check: 'integrity_check', severity: 'error' }),
            ]),
          },
        ],
      },
    }
    await expect(verifyBackup(plan, { level: 'restored' })).rejects.toMatchObject({
      code: 'VERIFICATION_FAILED',
      ...failed,
    })
    const damaged = readFileSync(place.file)
    await expect(restoreBackup(plan)).rejects.toMatchObject({
      code: 'RESTORE_CHECK_FAILED',
      message: expect.stringContaining('integrity_check'),
    })
    expect(readFileSync(place.file).equals(damaged)).toBe(true)
    expect(await place.besideLive()).toEqual(['tasks.db'])
    expect(readdirSync(place.temporary)).toEqual([])
  })

  test('the app’s own check refuses it, or throws: the live database stays', async ({ place }) => {
    createTasks(place.file, ['one'])
    const plan = place.plan({ destinations: [memory()] })
    await createBackup(plan)
    const titles: string[][] = []
    const refusing: RestoreCheck = async ({ location }) => {
      titles.push(tasksIn(location))
      return [{ check: 'tasks', severity: 'error', message: 'too few tasks' }]
    }
    const throwing: RestoreCheck = async () => {
      throw new Error('the check broke')
    }
    const before = statSync(place.file).ino
    await expect(restoreBackup(plan, { checks: [refusing] })).rejects.toMatchObject({
      code: 'RESTORE_CHECK_FAILED',
      message: expect.stringContaining('too few tasks'),
    })
    await expect(restoreBackup(plan, { checks: [throwing] })).rejects.toMatchObject({
      message: expect.stringContaining('the check broke'),
    })
    expect(titles).toEqual([['one']])
    expect(statSync(place.file).ino).toBe(before)
    expect(await place.besideLive()).toEqual(['tasks.db'])
  })

  test('rows without the row that they refer to are a warning', async ({ place }) => {
    const database = new Database(place.file)
    database.pragma('foreign_keys = OFF')
    database.exec(
      'CREATE TABLE project (id INTEGER PRIMARY KEY); CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT, project REFERENCES project)',
    )
    database.exec("INSERT INTO task (title, project) VALUES ('orphan', 7), ('another', 8)")
    database.close()
    const plan = place.plan()
    await createBackup(plan)
    const { findings } = await restoreBackup(plan)
    expect(findings[1]).toEqual({
      check: 'foreign_key_check',
      severity: 'warning',
      message: '2 rows refer to rows that are not there: task → project.',
    })
  })

  test('an index by a collation that only the app knows is a warning', async ({ place }) => {
    const database = new Database(place.file)
    database.exec(
      'CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT); CREATE INDEX by_title ON task (title COLLATE NOCASE)',
    )
    database.exec("INSERT INTO task (title) VALUES ('one'), ('two')")
    database.unsafeMode(true)
    database.pragma('writable_schema = ON')
    database.exec("UPDATE sqlite_schema SET sql = replace(sql, 'NOCASE', 'german') WHERE name = 'by_title'")
    database.close()
    const plan = place.plan()
    await createBackup(plan)
    const { findings } = await restoreBackup(plan)
    expect(findings[0]).toEqual({
      check: 'integrity_check',
      severity: 'warning',
      message: expect.stringContaining('no such collation sequence: german'),
    })
  })
})
