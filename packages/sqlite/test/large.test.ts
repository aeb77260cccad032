import { statfsSync, statSync } from 'node:fs'
import { createBackup, restoreBackup } from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { expect } from 'vitest'
import { test } from './support/place.ts'

const GIB = 1024 ** 3
const ROOM = 16 * GIB

test('backs up and restores a database over 4 GiB, whose offsets no 32 bits hold', { timeout: 600_000 }, async ({
  place,
  skip,
}) => {
  skip(process.env.TASKFLOW_LARGE !== '1', 'takes minutes and 14 GiB of disk: set TASKFLOW_LARGE=1')
  const { bavail, bsize } = statfsSync(place.folder)
  skip(bavail * bsize < ROOM, 'needs 16 GiB of free disk')
  const db = new Database(place.file)
  db.pragma('page_size = 65536')
  db.pragma('journal_mode = OFF')
  db.exec(
    'CREATE TABLE blobs (id INTEGER PRIMARY KEY, body BLOB); CREATE TABLE marks (id INTEGER PRIMARY KEY, text TEXT)',
  )
  const add = db.prepare('INSERT INTO blobs (body) VALUES (zeroblob(450000000))')
  const mark = db.prepare('INSERT INTO marks (text) VALUES (?)')
  for (let i = 0; i < 10; i++) {
    add.run()
    mark.run(`after ${i}`)
  }
  db.pragma('journal_mode = WAL')
  mark.run('in the log')
  expect(statSync(place.file).size).toBeGreaterThan(4 * GIB)

  const plan = place.plan()
  const { manifest } = await createBackup(plan)
  expect(manifest.method).toBe('single-pass')
  expect(manifest.members[0]?.plain.bytes).toBeGreaterThan(4 * GIB)
  const last = db.prepare('SELECT body FROM blobs WHERE id = 10').pluck().get() as Buffer
  expect(last.length).toBe(450_000_000)
  db.close()

  const copy = place.path('copy.db')
  const { findings } = await restoreBackup(plan, { to: copy })
  expect(findings.map(({ check, severity }) => `${check} ${severity}`)).toEqual([
    'integrity_check ok',
    'foreign_key_check ok',
  ])
  const restored = new Database(copy, { readonly: true })
  expect(restored.prepare('SELECT text FROM marks ORDER BY id').pluck().all()).toEqual([
    ...Array.from({ length: 10 }, (_, i) => `after ${i}`),
    'in the log',
  ])
  restored.close()
})
