import { createBackup } from '@taskflow-backup/core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { leftOnServer, type PhysicalSite, physicalSite, plainMembers } from './support/physical.ts'
import { VERSIONS, whyNoServer } from './support/programs.ts'
import { TestServer } from './support/server.ts'

for (const version of VERSIONS.filter((one) => one >= 17)) {
  const missing = whyNoServer(version)
  describe.skipIf(missing)(`differentials of PostgreSQL ${version}${missing ? ` (${missing})` : ''}`, () => {
    let server: TestServer
    let site: PhysicalSite
    beforeAll(async () => {
      server = await TestServer.start(version, { lean: true, settings: { summarize_wal: 'on' } })
      site = physicalSite(server)
      await server.sql('CREATE TABLE task AS SELECT g AS id, md5(g::text) AS title FROM generate_series(1, 200000) g')
    })
    afterAll(() => server?.destroy())

    test('hold what changed since the full, each of them', async () => {
      await server.sql('VACUUM (FREEZE) task') // else the next reader of a page changes it
      const full = await site.backup()
      const sizes: number[] = []
      for (const round of [1, 2]) {
        await server.sql(`UPDATE task SET title = 'changed' WHERE id % 10000 = ${round}`)
        const { id, manifest, plainBytes } = await site.backup('differential')
        expect(manifest).toMatchObject({
          kind: 'differential',
          method: 'incremental-base-backup',
          base: { full: full.id, previous: full.id },
        })
        expect(manifest.position.begin).toBe(full.manifest.position.end)
        sizes.push(plainBytes)
        const members = await plainMembers(site, id)
        const files = [...String(members.get('backup_manifest')).matchAll(/"Path": "([^"]*)"/g)].map(([, path]) => path)
        expect(files.filter((path) => path?.includes('/INCREMENTAL.')).length).toBeGreaterThan(100)
        const [row] = await server.sql("SELECT pg_relation_filepath('task') AS path")
        expect(files).toContain(String(row?.path).replace(/(\d+)$/, 'INCREMENTAL.$1'))
      }
      for (const size of sizes) expect(size).toBeLessThan(full.plainBytes - 8_000_000)
      await expect.poll(() => leftOnServer(server)).toEqual([])
    })

    test('of no change can be made', async () => {
      await site.backup()
      for (const _ of [1, 2]) expect((await site.backup('differential')).manifest.kind).toBe('differential')
    })

    test('are refused without summaries of the log, and a full says why', async () => {
      const reasons: (string | undefined)[] = []
      await server.sql('ALTER SYSTEM SET summarize_wal = off')
      await server.sql('SELECT pg_reload_conf()')
      await expect.poll(async () => (await server.sql('SHOW summarize_wal'))[0]?.summarize_wal).toBe('off')
      const before = await site.keys()
      await expect(site.backup('differential')).rejects.toMatchObject({
        code: 'BASE_UNUSABLE',
        hint: expect.stringContaining('summarize_wal = on'),
      })
      expect(await site.keys()).toEqual(before)
      const lenient = site.planWith({ strictKinds: false })
      reasons.push((await createBackup(lenient, { kind: 'differential' })).manifest.requested?.reason)
      // Written while nobody summarized: on again, the server lacks what it would have to know.
      await server.sql("UPDATE task SET title = 'unseen' WHERE id % 1000 = 1")
      await server.sql('CHECKPOINT')
      await server.sql('SELECT pg_switch_wal()')
      await server.sql('CHECKPOINT')
      await server.sql('ALTER SYSTEM SET summarize_wal = on')
      await server.sql('SELECT pg_reload_conf()')
      await expect.poll(async () => (await server.sql('SHOW summarize_wal'))[0]?.summarize_wal).toBe('on')
      const outcome = await createBackup(lenient, { kind: 'differential' })
      reasons.push(outcome.manifest.requested?.reason)
      expect(reasons[0]).toContain('summarize_wal is off')
      // Where the log is still there, the server makes up for it; where it is not, a full is made.
      if (outcome.kind === 'full') expect(reasons[1]).toMatch(/summar/i)
      else expect(reasons[1]).toBeUndefined()
    })

    test('are refused when the summaries that they need are gone', async () => {
      const full = await site.backup()
      await server.sql("UPDATE task SET title = 'more' WHERE id % 1000 = 2")
      await site.backup('differential') // from here on, everything is summarized
      const { readdir, rm } = await import('node:fs/promises')
      const folder = `${server.dataDirectory}/pg_wal/summaries`
      for (const name of await readdir(folder)) await rm(`${folder}/${name}`)
      await server.sql("UPDATE task SET title = 'even more' WHERE id % 1000 = 3")
      const before = await site.keys()
      await expect(site.backup('differential')).rejects.toMatchObject({
        code: 'BASE_UNUSABLE',
        message: expect.stringMatching(/summar/i),
      })
      expect(await site.keys()).toEqual(before)
      expect(full.kind).toBe('full')
    })
  })
}
