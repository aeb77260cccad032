import { mkdirSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createBackup, memory, restoreBackup, verifyBackup } from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import { contentOf, takeImage } from './support/images.ts'
import { test } from './support/place.ts'

const NAMES = [
  'with some spaces.db',
  'Grüße-世界-🌍.db',
  `quotes ' and " and \`.db`,
  'per%20cent % and %s.db',
  'question?mode=memory.db',
  'hash#fragment.db',
  'line\nbreak.db',
  '-leading-dash.db',
  'no-suffix',
  'dollar $HOME; and & more.db',
]

function create(file: string): Database.Database {
  const database = new Database(file)
  database.pragma('journal_mode = wal')
  database.exec("CREATE TABLE t (v); INSERT INTO t VALUES ('in the log only')")
  return database
}

describe('paths', () => {
  test.for(NAMES)('%j is backed up and restored over', async (name, { place }) => {
    const file = join(place.app, name)
    const database = create(file)
    const plan = place.plan({ sqlite: { file }, destinations: [memory()] })
    const { manifest } = await createBackup(plan)
    expect(manifest.source.name).toBe(name)
    const before = contentOf(file)
    database.exec("INSERT INTO t VALUES ('after the backup')")
    database.close()
    await restoreBackup(plan)
    expect(contentOf(file)).toBe(before)
  })

  test('a relative path counts from the working directory at the time of the call', async ({ place }) => {
    const agent = await place.agent()
    const rows = await agent.run(
      async ({ Database, library }, { folder }) => {
        process.chdir(folder)
        new Database('here.db').exec('CREATE TABLE t (v); INSERT INTO t VALUES (1)').close()
        const { createBackup, defineBackupPlan, memory, restoreBackup, sqlite } = await library()
        const plan = defineBackupPlan({ name: 'p', adapter: sqlite({ file: 'here.db' }), destinations: [memory()] })
        process.chdir('/')
        await createBackup(plan)
        await restoreBackup(plan, { to: `${folder}/copy.db` })
        return new Database(`${folder}/copy.db`).prepare('SELECT * FROM t').all().length
      },
      { folder: place.app },
    )
    expect(rows).toBe(1)
  })

  test('a symbolic link: the log lies beside the file that it names', async ({ place }) => {
    const real = join(place.folder, 'elsewhere', 'real.db')
    mkdirSync(dirname(real))
    symlinkSync(real, place.file)
    const database = create(real)
    place.atEnd(() => database.close())
    const { path } = await takeImage(place)
    expect(contentOf(path)).toBe(contentOf(real))
  })
})

describe('compression', () => {
  test.for(['none', 'gzip', 'zstd', { algorithm: 'zstd', level: 12 }, { algorithm: 'gzip', level: 1 }] as const)(
    '%j passes every level of verification',
    async (compression, { place }) => {
      const database = create(place.file)
      place.atEnd(() => database.close())
      database.exec('INSERT INTO t SELECT zeroblob(700000) FROM (VALUES (1), (2), (3), (4), (5), (6), (7), (8))')
      const plan = place.plan({ compression })
      const { manifest, plainBytes, storedBytes } = await createBackup(plan)
      const algorithm = typeof compression === 'string' ? compression : compression.algorithm
      expect(manifest.members[0]?.codecs.map(({ name }) => name)).toEqual(algorithm === 'none' ? [] : [algorithm])
      expect(plainBytes).toBeGreaterThan(5_000_000)
      if (algorithm === 'none') expect(storedBytes).toBe(plainBytes)
      else expect(storedBytes).toBeLessThan(plainBytes / 10)
      const report = await verifyBackup(plan, { level: 'restored' })
      expect(report.destinations[0]?.findings.map(({ severity }) => severity)).not.toContain('error')
    },
  )
})
