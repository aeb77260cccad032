import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { createBackup, restoreBackup, undoRestore, verifyBackup } from '@taskflow-backup/core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { LogicalOptions } from '../src/index.ts'
import { Databases, startSharedServer, whyNoLogical } from './support/databases.ts'
import type { TestServer } from './support/server.ts'
import { FINGERPRINT, taskflowSchema } from './support/taskflow.ts'

const why = whyNoLogical()
const FORMATS: readonly NonNullable<LogicalOptions['format']>[] = ['custom', 'directory', 'plain']
let server: TestServer

describe.skipIf(why !== undefined)(`formats of dumps${why === undefined ? '' : `: ${why}`}`, () => {
  beforeAll(async () => {
    server = await startSharedServer()
  })
  afterAll(() => server?.destroy())

  test.for(FORMATS)('%s carries everything that a schema of some years has', async (format, { onTestFinished }) => {
    // A name that needs its quotes in SQL, and in connection strings.
    const databases = await Databases.make(server, { name: ` o'Neil="x" \\ ü` })
    onTestFinished(() => databases.destroy())
    await databases.sql(taskflowSchema(databases.prefix))
    const before = await databases.rows(FINGERPRINT)
    expect(before.length).toBeGreaterThan(100)
    const plan = databases.plan({ postgres: { logical: { format, jobs: 3 } } })
    const { manifest } = await createBackup(plan)
    expect(manifest.method).toBe(`pg_dump-${format}`)
    const suffix = { custom: 'dump', directory: 'directory.tar', plain: 'sql' }[format]
    expect(manifest.members.map(({ name }) => name.replace(/^tasks_backup_\d{8}_\d{6}\./, ''))).toEqual([
      'globals.sql',
      suffix,
    ])
    expect(manifest.source.details).toMatchObject({ mode: 'logical', format, owners: expect.anything() })
    await databases.sql('DROP SCHEMA "Task Flow" CASCADE; SELECT lo_unlink(4711)')

    const report = await verifyBackup(plan, { level: 'restored' })
    const findings = report.destinations[0]?.findings ?? []
    expect(findings.filter(({ severity }) => severity !== 'ok')).toEqual([])
    const { undo } = await restoreBackup(plan)
    expect(await databases.rows(FINGERPRINT)).toEqual(before)
    await undoRestore(plan, undo)
    expect(await databases.rows(`SELECT FROM pg_namespace WHERE nspname = 'Task Flow'`)).toEqual([])
    expect(await readdir(databases.temporary)).toEqual([])
    expect(await databases.sessions()).toEqual([])
  })

  test('roles and tablespaces are a member of their own, without passwords unless they are asked for', async ({
    onTestFinished,
  }) => {
    const databases = await Databases.make(server)
    onTestFinished(() => databases.destroy())
    await server.sql(`CREATE ROLE "${databases.prefix} Lise" LOGIN PASSWORD 'lises-password'`)
    const globalsWith = async (globals: LogicalOptions['globals'], format: 'custom' | 'plain' = 'custom') => {
      const read: string[] = []
      const plan = databases.plan({
        postgres: { logical: { globals: globals as 'none', format } },
        verifiers: [
          async (backup) => {
            const member = backup.manifest.members.find(({ name }) => name.endsWith('.globals.sql'))
            if (member) for await (const piece of await backup.open(member.name)) read.push(String(piece))
            return []
          },
        ],
      })
      const { id } = await createBackup(plan)
      await verifyBackup(plan, { id })
      return read.join('')
    }
    const without = await globalsWith('without-passwords')
    expect(without).toContain(`CREATE ROLE "${databases.prefix} Lise"`)
    expect(without).not.toMatch(/PASSWORD '|SCRAM/)
    expect(await globalsWith('with-passwords')).toMatch(/Lise" .*PASSWORD 'SCRAM/)
    expect(await globalsWith('none')).toBe('')
  })

  test('a million rows', async ({ onTestFinished }) => {
    const databases = await Databases.make(server)
    onTestFinished(() => databases.destroy())
    await databases.sql(`
      CREATE TABLE big AS SELECT i AS id, 'task ' || i AS title FROM generate_series(1, 1000000) i;
      ALTER TABLE big ADD PRIMARY KEY (id)`)
    const digest = `SELECT count(*), sum(id::bigint * length(title))::text FROM big`
    const [before] = await databases.rows(digest)
    const plan = databases.plan({ compression: { algorithm: 'zstd', level: 1 } })
    const { manifest } = await createBackup(plan)
    const report = await verifyBackup(plan, { id: manifest.id })
    const messages = report.destinations[0]?.findings.map(({ message }) => message) ?? []
    expect(messages.filter((message) => message.includes('data of 1 tables'))).toHaveLength(1)
    const to = `${databases.prefix}_copy`
    await restoreBackup(plan, { to })
    expect(await databases.rows(digest, to)).toEqual([before])
  })

  test('the members of two dumps of the same state differ only where pg_dump puts the time', async ({
    onTestFinished,
  }) => {
    const databases = await Databases.make(server, { sql: 'CREATE TABLE t AS SELECT generate_series(1, 9) v' })
    onTestFinished(() => databases.destroy())
    const plan = databases.plan({ postgres: { logical: { format: 'plain', globals: 'none' } }, compression: 'none' })
    const hashes: string[] = []
    for (let round = 0; round < 2; round++) {
      const { manifest } = await createBackup(plan)
      const [member] = manifest.members
      expect(member?.plain).toEqual(member?.stored)
      const hash = createHash('sha256')
      const reading = databases.plan({
        compression: 'none',
        verifiers: [
          async (backup) => {
            const text: string[] = []
            for await (const piece of await backup.open(member?.name as string)) text.push(String(piece))
            // Newer versions protect psql with a random word.
            hash.update(text.join('').replace(/^\\(un)?restrict .*$/gm, ''))
            return []
          },
        ],
      })
      await verifyBackup(reading, { id: manifest.id })
      hashes.push(hash.digest('hex'))
    }
    expect(hashes[0]).toBe(hashes[1])
  })
})
