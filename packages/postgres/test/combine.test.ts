import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import {
  type AdapterContext,
  type BackupAdapter,
  type BackupKind,
  decodeMember,
  type Manifest,
  type ManifestMember,
  type OpenBackup,
} from '@taskflow-backup/core'
import { describe, expect, test } from 'vitest'
import { physicalPlan } from './support/physical-plan.ts'
import { RUN_AS, type Version, whyNoServer } from './support/programs.ts'
import { queryUrl } from './support/restored.ts'
import { TestServer } from './support/server.ts'
import { spawnWithoutNative } from './support/without-native.ts'

/** Makes a backup without core, which would let every differential be against the full. */
async function take(adapter: BackupAdapter, kind: BackupKind, before: OpenBackup | undefined, ctx: AdapterContext) {
  const id = `${kind} ${ctx.randomId(4)}`
  const contents = new Map<string, Buffer>()
  const members: ManifestMember[] = []
  const source = adapter.backup(
    {
      kind,
      id,
      startedAt: ctx.now(),
      fileStem: 'app',
      compression: { algorithm: 'zstd', level: 1 },
      ...(before && { base: { full: before, previous: before, logs: async () => [] } }),
    },
    ctx,
  )
  for (;;) {
    const step = await source.next()
    if (step.done) {
      const { position, method, source: facts } = step.value
      const manifest = { id, kind, members, position, method, source: facts } as unknown as Manifest
      const openStored = async (name: string) => Readable.from([contents.get(name) as Buffer], { objectMode: false })
      const open = async (name: string) =>
        decodeMember(members.find((one) => one.name === name) as ManifestMember, await openStored(name), () => {})
      return { manifest, destination: 'memory', openStored, open } satisfies OpenBackup
    }
    const { name, body, encoded } = step.value
    if (!encoded?.stored) throw new Error(`${name} does not come encoded`)
    contents.set(name, Buffer.concat((await body.toArray()) as Buffer[]))
    members.push({ name, file: name, codecs: encoded.codecs, plain: encoded.plain(), stored: encoded.stored() })
  }
}

/** The checksums that the server's manifest of a backup has. */
async function algorithmsOf({ manifest, open }: OpenBackup): Promise<string[]> {
  const { name } = manifest.members.find((one) => one.name.endsWith('.backup_manifest')) as ManifestMember
  const text = String(Buffer.concat(await (await open(name)).toArray()))
  return [...new Set([...text.matchAll(/"Checksum-Algorithm": "(\w+)"/g)].map(([, algorithm]) => algorithm as string))]
}

/** Changes of every kind that an incremental backup has to tell: each round other tables are new, gone, cut, grown. */
const changes = (round: number, space: string): readonly string[] => [
  `UPDATE big SET v = v || 'r${round}' WHERE id % 97 = ${round}`,
  `CREATE TABLE new${round} AS SELECT g AS id, repeat('n', 200) AS v FROM generate_series(1, 2000) g`,
  `CREATE TABLE space${round} (id int PRIMARY KEY) TABLESPACE ${space}`,
  `INSERT INTO space${round} SELECT generate_series(1, 500)`,
  'TRUNCATE cut',
  `INSERT INTO cut SELECT g, repeat('c', 300) FROM generate_series(1, ${400 * round}) g`,
  // The rows at the end go, and the file becomes shorter.
  `DELETE FROM tail WHERE id > ${6000 - 1500 * round}`,
  'VACUUM tail',
  ...(round > 1 ? [`DROP TABLE new${round - 1}`, `DROP TABLE space${round - 1}`] : []),
]

const TABLES = `
SELECT relname::text AS name FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname`
const digestOf = (tables: readonly string[]): string =>
  tables
    .map(
      (name) =>
        `SELECT '${name}' AS name, count(*)::int AS rows, md5(string_agg(t::text, E'\\n' ORDER BY t.id)) AS digest FROM ${name} t`,
    )
    .join(' UNION ALL ')

describe.each([17, 18] as const)('three incremental backups of PostgreSQL %s', (version: Version) => {
  const reason = whyNoServer(version)
  if (reason) console.warn(`Incremental backups are not combined: ${reason}`)

  test.skipIf(reason)('are combined to what the server had, in content and in every page', async () => {
    const server = await TestServer.start(version, {
      lean: true,
      initdb: ['-k', '--wal-segsize=1'],
      settings: { summarize_wal: 'on' },
    })
    try {
      for (const space of ['kept', 'dropped']) {
        await fs.mkdir(join(server.folder, space))
        if (RUN_AS) await fs.chown(join(server.folder, space), RUN_AS.uid, RUN_AS.gid)
        await server.sql(`CREATE TABLESPACE ${space} LOCATION '${join(server.folder, space)}'`)
      }
      await server.sql("CREATE TABLE big AS SELECT g AS id, repeat('b', 100) AS v FROM generate_series(1, 30000) g")
      await server.sql('CREATE INDEX ON big (v)')
      await server.sql('CREATE TABLE cut (id int, v text)')
      await server.sql("CREATE TABLE tail AS SELECT g AS id, repeat('t', 100) AS v FROM generate_series(1, 6000) g")
      await server.sql('CREATE TABLE gone (id int) TABLESPACE dropped')
      const { adapter, runtime } = physicalPlan(server)
      const ctx: AdapterContext = {
        ...runtime,
        signal: new AbortController().signal,
        onProgress: () => {},
        onWarning: () => {},
      }
      // Of a machine without native CRC-32C, where the server is asked for SHA-256: a chain may be of both.
      const chain = [await take(adapter, 'full', undefined, { ...ctx, spawn: spawnWithoutNative })]
      for (const round of [1, 2, 3]) {
        for (const change of changes(round, 'kept')) await server.sql(change)
        if (round === 2) for (const drop of ['DROP TABLE gone', 'DROP TABLESPACE dropped']) await server.sql(drop)
        await server.sql('CHECKPOINT')
        chain.push(await take(adapter, 'differential', chain.at(-1), ctx))
      }
      expect(await Promise.all(chain.map(algorithmsOf))).toEqual([['SHA256'], ['CRC32C'], ['CRC32C'], ['CRC32C']])
      const tables = (await server.sql<{ name: string }>(TABLES)).map(({ name }) => name)
      expect(tables).toEqual(['big', 'cut', 'new3', 'space3', 'tail'])
      const expected = await server.sql(digestOf(tables))

      const staged = await adapter.restore({ backups: chain, target: { kind: 'scratch' }, evenIfInUse: false }, ctx)
      try {
        expect(await queryUrl(staged.location, TABLES)).toEqual(tables.map((name) => ({ name })))
        expect(await queryUrl(staged.location, digestOf(tables))).toEqual(expected)
        // Reads every page of every table and index, with its checksum.
        const findings = await staged.check(ctx)
        expect(findings.filter(({ severity }) => severity !== 'ok')).toEqual([])
        const [sums] = await queryUrl(staged.location, 'SHOW data_checksums')
        expect(sums).toEqual({ data_checksums: 'on' })
      } finally {
        await staged.discard()
      }
      // One that is missing in between is found, whatever the files look like.
      const [full, , second] = chain as [OpenBackup, OpenBackup, OpenBackup]
      const gap = { backups: [full, second], target: { kind: 'scratch' }, evenIfInUse: false } as const
      await expect(adapter.restore(gap, ctx)).rejects.toMatchObject({ code: 'MEMBER_DAMAGED' })
    } finally {
      await server.destroy()
    }
  })
})
