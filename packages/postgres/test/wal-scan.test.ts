import { chown, copyFile, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createBackup, restoreBackup } from '@taskflow-backup/core'
import { expect, test } from 'vitest'
import { createdTablespaces } from '../src/child/wal-scan.ts'
import { parseLsn } from '../src/position.ts'
import { physicalPlan } from './support/physical-plan.ts'
import { RUN_AS, VERSIONS, whyNoServer } from './support/programs.ts'
import { TestServer } from './support/server.ts'

for (const version of VERSIONS) {
  const reason = whyNoServer(version)
  if (reason) console.warn(`The log is not looked through: ${reason}`)
  test.skipIf(reason)(
    `PostgreSQL ${version}: tablespaces that the log makes are found, wherever they stand in it`,
    async () => {
      const server = await TestServer.start(version, {
        lean: true,
        initdb: ['-k', '--wal-segsize=1'],
        settings: { fsync: 'off', full_page_writes: 'on', max_wal_size: '64MB', wal_keep_size: '100MB' },
      })
      try {
        const plan = physicalPlan(server)
        await createBackup(plan)
        const { begin } = (await server.sql('SELECT redo_lsn::text AS begin FROM pg_control_checkpoint()'))[0] as {
          begin: string
        }
        const made: { oid: number; path: string }[] = []
        await server.sql('CREATE TABLE filler (v text)')
        for (let i = 0; i < 12; i++) {
          // Of every length, so that records begin and end everywhere on their pages, and over the borders of segments.
          await server.sql(
            `INSERT INTO filler SELECT repeat('x', (random() * ${300 * i})::int) FROM generate_series(1, 900)`,
          )
          const path = join(server.folder, `space ${i} ${'long'.repeat(i)}`)
          await mkdir(path)
          if (RUN_AS) await chown(path, RUN_AS.uid, RUN_AS.gid)
          await server.sql(`CREATE TABLESPACE space${i} LOCATION '${path}'`)
          const [row] = await server.sql(`SELECT oid::int FROM pg_tablespace WHERE spcname = 'space${i}'`)
          made.push({ oid: row?.oid, path })
          if (i % 4 === 3) await server.sql('SELECT pg_switch_wal()')
        }
        await createBackup(plan, { kind: 'log' })
        const log = join(server.dataDirectory, 'pg_wal')
        expect((await readdir(log)).filter((name) => /^[0-9A-F]{24}$/.test(name)).length).toBeGreaterThan(5)
        expect(createdTablespaces(log, [{ timeline: 1, begin: parseLsn(begin) }], 2 ** 20)).toEqual(made)

        // Replayed beside the live server, it would clear the live one's files.
        const failure = restoreBackup(plan, { to: join(server.folder, 'restored') })
        await expect(failure).rejects.toMatchObject({
          code: 'TARGET_INVALID',
          message: expect.stringContaining('space 0'),
        })
        expect((await readdir(made[0]?.path as string)).length).toBe(1)
      } finally {
        await server.destroy()
      }
    },
  )
}

test('where there is no log, there is nothing to find', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'taskflow-no-wal-'))
  try {
    expect(createdTablespaces(folder, [{ timeline: 1, begin: 0x1000028n }], 2 ** 24)).toEqual([])
    await copyFile(new URL(import.meta.url), join(folder, '000000010000000000000001'))
    expect(createdTablespaces(folder, [{ timeline: 1, begin: 0x1000028n }], 2 ** 24)).toEqual([])
  } finally {
    await rm(folder, { recursive: true })
  }
})
