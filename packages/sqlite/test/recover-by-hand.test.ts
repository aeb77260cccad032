import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type BackupPlanOptions, createBackup } from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import { test } from './support/place.ts'
import { createTasks } from './support/tasks.ts'

const hasTool = (tool: string): boolean => spawnSync(tool, ['--version']).error === undefined

const WAYS: { compression: NonNullable<BackupPlanOptions['compression']>; tool: string; suffix: string }[] = [
  { compression: 'zstd', tool: 'zstd', suffix: '.db.zst' },
  { compression: 'gzip', tool: 'gzip', suffix: '.db.gz' },
  { compression: 'none', tool: 'cat', suffix: '.db' },
]

describe('without this library', () => {
  test.for(WAYS)(
    '$tool, sha256sum and sqlite3 bring the rows back',
    async ({ compression, tool, suffix }, { place, skip }) => {
      const missing = [tool, 'sha256sum', 'sqlite3'].filter((name) => !hasTool(name))
      skip(missing.length > 0, `not installed: ${missing.join(', ')}`)
      createTasks(
        place.file,
        Array.from({ length: 40 }, (_, i) => `task ${i}`),
      )
      const app = new Database(place.file)
      place.atEnd(() => app.close())
      // Three frames, so that a tool that stops after the first one is found out.
      app.exec(
        'CREATE TABLE attachment (v BLOB); INSERT INTO attachment VALUES (randomblob(3000000)), (zeroblob(3000000))',
      )
      const { id } = await createBackup(place.plan({ compression }))

      // From here on as a person would: the folder, and what is in it.
      const folder = join(place.backups, 'tasks', id)
      const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'))
      const [{ name, file, plain, stored }] = manifest.members
      expect(file).toBe(name.replace(/\.db$/, suffix))
      const sum = (path: string): string => execFileSync('sha256sum', [path], { encoding: 'utf8' }).slice(0, 64)
      expect(sum(join(folder, file))).toBe(stored.sha256)
      const restored = place.path('by-hand.db')
      const decode = tool === 'cat' ? `cat < "$1" > "$2"` : `${tool} -d < "$1" > "$2"`
      execFileSync('sh', ['-c', decode, 'sh', join(folder, file), restored])
      expect(sum(restored)).toBe(plain.sha256)
      const ask = (sql: string): string => execFileSync('sqlite3', [restored, sql], { encoding: 'utf8' }).trim()
      expect(ask('PRAGMA integrity_check')).toBe('ok')
      expect(ask('SELECT count(*), min(title), max(id) FROM task')).toBe('40|task 0|40')
      expect(ask('SELECT sum(length(v)) FROM attachment')).toBe('6000000')
    },
  )
})
