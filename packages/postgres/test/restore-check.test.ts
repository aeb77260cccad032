import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { AdapterContext } from '@taskflow-backup/core'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { resolveConnection } from '../src/connection.ts'
import { checkCluster, inParts, PART_BYTES } from '../src/physical/restore-check.ts'
import { VERSIONS, whyNoServer } from './support/programs.ts'
import { TestServer } from './support/server.ts'

const BLOCK = 8192

test('every block of every table, and every index, is in exactly one part', () => {
  const relation = fc.record({ index: fc.boolean(), blocks: fc.oneof(fc.nat(20), fc.nat(200_000)) })
  fc.assert(
    fc.property(fc.array(relation, { maxLength: 500 }), (relations) => {
      const given = relations.map(({ index, blocks }, i) => ({
        oid: String(i),
        index,
        bytes: String(blocks * BLOCK),
        block: String(BLOCK),
      }))
      const seen = new Map<string, [number, number][]>()
      for (const { query, values } of inParts(given)) {
        const [oids = [], first = [], last = []] = values
        for (const [i, oid] of oids.entries()) {
          const { index = false, blocks = 0 } = relations[Number(oid)] ?? {}
          expect(query.includes('bt_index_check')).toBe(index)
          const range: [number, number] = first[i] == null ? [0, blocks - 1] : [Number(first[i]), Number(last[i])]
          expect((range[1] - range[0] + 1) * BLOCK).toBeLessThanOrEqual(index ? Infinity : PART_BYTES)
          seen.set(String(oid), [...(seen.get(String(oid)) ?? []), range])
        }
      }
      for (const [i, { blocks }] of relations.entries()) {
        const ranges = seen.get(String(i)) ?? []
        let next = 0
        for (const [first, last] of ranges) {
          expect(first).toBe(next)
          next = last + 1
        }
        expect(ranges.length).toBeGreaterThan(0)
        expect(next).toBe(blocks)
      }
    }),
  )
})

describe.each(VERSIONS)('checking a cluster of PostgreSQL %i', (version) => {
  const why = whyNoServer(version)
  if (why) console.warn(`Checking is not tried with PostgreSQL ${version}: ${why}.`)

  test.skipIf(why)('tells what is damaged anywhere, and leaves nothing, not even of an older amcheck', async () => {
    // No page checksums, which are the default from 18 on: the checks themselves have to find it.
    const server = await TestServer.start(version, { initdb: version < 18 ? [] : ['--no-data-checksums'] })
    try {
      await server.sql("CREATE EXTENSION amcheck VERSION '1.2'")
      // More than one part.
      await server.sql('CREATE TABLE big (id int, filler text); ALTER TABLE big ALTER filler SET STORAGE PLAIN')
      await server.sql(
        `INSERT INTO big SELECT g, repeat('x', 7000) FROM generate_series(1, ${PART_BYTES / BLOCK + 50}) g`,
      )
      await server.sql('CREATE TABLE small (id int PRIMARY KEY); INSERT INTO small SELECT generate_series(1, 2000)')
      const settings = await resolveConnection(server.connection())
      const ctx = { signal: new AbortController().signal } as AdapterContext
      const sound = await checkCluster(settings, ctx)
      expect(sound.map(({ severity }) => severity)).toEqual(sound.map(() => 'ok'))
      expect(sound.length).toBeGreaterThan(0)

      await damage(server, 'big', PART_BYTES / BLOCK + 7)
      await damage(server, 'small_pkey', 2)
      const damaged = (await checkCluster(settings, ctx)).filter(({ severity }) => severity === 'error')
      expect(damaged.some(({ message }) => /big/.test(message))).toBe(true)
      expect(damaged.some(({ message }) => /small_pkey/.test(message))).toBe(true)

      const left = await server.sql(`SELECT extversion AS name FROM pg_extension WHERE extname = 'amcheck'
        UNION ALL SELECT proname FROM pg_proc WHERE pronamespace::regnamespace::text LIKE 'pg_temp%'`)
      expect(left).toEqual([{ name: '1.2' }])
    } finally {
      await server.destroy()
    }
  })
})

/** Overwrites a block, but for its header, in the file of a relation. */
async function damage(server: TestServer, relation: string, block: number): Promise<void> {
  const [row] = await server.sql<{ path: string }>(`SELECT pg_relation_filepath('${relation}') AS path`)
  await server.stop()
  const file = await open(join(server.dataDirectory, row?.path as string), 'r+')
  await file.write(Buffer.alloc(BLOCK - 24, 0x55), 0, BLOCK - 24, block * BLOCK + 24)
  await file.close()
  await server.run()
}
