import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BackupResult, createBackup, type Storage } from '@taskflow-backup/core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CRC32C_START, finishCrc32c, updateByTables } from '../src/physical/crc32c.ts'
import { parseLsn } from '../src/position.ts'
import { leftOnServer, type PhysicalSite, physicalSite, plainMembers } from './support/physical.ts'
import { installedProgram, RUN_AS, VERSIONS, whyNoServer } from './support/programs.ts'
import { TestServer } from './support/server.ts'

interface ManifestFile {
  readonly Path?: string
  readonly 'Encoded-Path'?: string
  readonly Size: number
  readonly 'Checksum-Algorithm': string
  readonly Checksum: string
}

/** The files that the server's manifest names, by their paths (each byte one character). */
function filesOf(manifest: Buffer): Map<string, ManifestFile> {
  const { Files: files } = JSON.parse(manifest.toString()) as { Files: ManifestFile[] }
  return new Map(
    files.map((file) => [
      file['Encoded-Path'] === undefined
        ? Buffer.from(file.Path as string).toString('latin1')
        : Buffer.from(file['Encoded-Path'], 'hex').toString('latin1'),
      file,
    ]),
  )
}

async function* slowly(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const piece of body) {
    await sleep(1)
    yield piece
  }
}

/** As the server prints it, with the lowest byte first. Computed otherwise than the backup does. */
const crc32c = (bytes: Uint8Array): string => {
  const sum = Buffer.alloc(4)
  sum.writeUInt32LE(finishCrc32c(updateByTables(CRC32C_START, bytes)))
  return sum.toString('hex')
}

for (const version of VERSIONS) {
  const missing = whyNoServer(version)
  describe.skipIf(missing)(`a full of PostgreSQL ${version}${missing ? ` (${missing})` : ''}`, () => {
    let server: TestServer
    let site: PhysicalSite
    let folder: string

    beforeAll(async () => {
      server = await TestServer.start(version, { settings: { cluster_name: 'the cluster' } })
      folder = await fs.mkdtemp(join(tmpdir(), 'base-backup-'))
      const space = join(server.folder, 'a space')
      await fs.mkdir(space)
      if (RUN_AS) await fs.chown(space, RUN_AS.uid, RUN_AS.gid)
      await server.sql(`CREATE TABLESPACE "Zweiter Platz" LOCATION '${space}'`)
      await server.sql('CREATE DATABASE "größe \'x\'" TABLESPACE "Zweiter Platz"')
      await server.sql('CREATE TABLE task AS SELECT g AS id, md5(g::text) AS title FROM generate_series(1, 50000) g')
      site = physicalSite(server)
    })
    afterAll(async () => {
      await server?.destroy()
      if (folder) await fs.rm(folder, { recursive: true, force: true })
    })

    let full: BackupResult
    let members: Map<string, Buffer>

    test('holds every file that the manifest names, and tells what it is', async () => {
      const before = Date.now()
      full = await site.backup()
      const { manifest } = full
      const [{ oid }] = (await server.sql("SELECT oid::text FROM pg_tablespace WHERE spcname LIKE 'Z%'")) as [
        { oid: string },
      ]
      expect(manifest.members.map(({ name }) => name.slice(name.indexOf('.') + 1))).toEqual([
        `tablespace-${oid}.tar`,
        'base.tar',
        'backup_manifest',
      ])
      const { details = {}, ...source } = manifest.source
      expect(source).toMatchObject({ name: 'the cluster', engineVersion: expect.stringMatching(`^${version}\\.`) })
      expect(source.sizeBytes).toBeGreaterThan(10_000_000)
      const [system] = (await server.sql('SELECT system_identifier::text AS id FROM pg_control_system()')) as [
        { id: string },
      ]
      expect(details).toMatchObject({
        mode: 'physical',
        systemIdentifier: system.id,
        majorVersion: version,
        walSegmentBytes: 16 * 1024 * 1024,
        timeline: 1,
        history: [],
        dataChecksums: true,
        tablespaces: [{ oid, path: join(server.folder, 'a space') }],
        databases: ["größe 'x'", 'postgres'],
      })
      expect(manifest.position).toEqual({ end: `1:${details.endLsn}` })
      expect(parseLsn(String(details.startLsn))).toBeLessThan(parseLsn(String(details.endLsn)))
      expect(Date.parse(manifest.consistentAt)).toBeGreaterThanOrEqual(before)
      expect(Date.parse(manifest.consistentAt)).toBeLessThanOrEqual(Date.now())
      expect(manifest.method).toBe('base-backup')

      members = await plainMembers(site, full.id)
      const expected = filesOf(members.get('backup_manifest') as Buffer)
      for (const [name, bytes] of members) {
        if (!name.endsWith('.tar')) continue
        const place = name === 'base.tar' ? '' : `pg_tblspc/${oid}`
        await fs.mkdir(join(folder, 'data', place), { recursive: true })
        const { status, stderr } = spawnSync('tar', ['-x', '-C', join(folder, 'data', place)], { input: bytes })
        expect({ status, stderr: String(stderr) }).toEqual({ status: 0, stderr: '' })
      }
      for (const [path, { Size, 'Checksum-Algorithm': algorithm, Checksum }] of expected) {
        const bytes = await fs.readFile(Buffer.from(join(folder, 'data', path), 'latin1'))
        expect({ path, size: bytes.length, algorithm, sum: crc32c(bytes) }).toEqual({
          path,
          size: Size,
          algorithm: 'CRC32C',
          sum: Checksum,
        })
      }
      expect(expected.size).toBe(details.files)
      await expect.poll(() => leftOnServer(server)).toEqual([])
    })

    test('stands alone: the log that makes it consistent is in it', async () => {
      const { details = {} } = full.manifest.source
      const segment = (lsn: bigint): string => `00000001${'0'.repeat(8)}${(lsn >> 24n).toString(16).padStart(8, '0')}`
      const there = await fs.readdir(join(folder, 'data', 'pg_wal'))
      for (let at = parseLsn(String(details.startLsn)); at < parseLsn(String(details.endLsn)); at += 1n << 24n)
        expect(there).toContain(segment(at).toUpperCase())
    })

    const program = installedProgram(version, 'pg_verifybackup')
    test('passes pg_verifybackup', async ({ skip }) => {
      skip(program === undefined, `there is no pg_verifybackup of ${version} here`)
      await fs.writeFile(join(folder, 'data', 'backup_manifest'), members.get('backup_manifest') as Buffer)
      const { status, stderr } = spawnSync(program as string, [join(folder, 'data')])
      expect({ status, stderr: String(stderr) }).toEqual({ status: 0, stderr: '' })
    })

    test('passes its inspection, and no damage does', async () => {
      const stem = full.manifest.members[0]?.name.split('.')[0]
      const ctx = { ...site.plan.runtime, signal: new AbortController().signal, onProgress() {}, onWarning() {} }
      const inspect = async (name: string, bytes: Buffer) => {
        const body = Readable.from(
          Array.from({ length: Math.ceil(bytes.length / 65_536) }, (_, i) =>
            bytes.subarray(i * 65_536, (i + 1) * 65_536),
          ),
          { objectMode: false },
        )
        const findings = await site.adapter.inspect({ name: `${stem}.${name}`, body, plainBytes: bytes.length }, ctx)
        expect(body.destroyed || body.readableEnded).toBe(true)
        return findings.map(({ severity, message }) => `${severity}: ${message}`).join()
      }
      for (const [name, bytes] of members) {
        expect(await inspect(name, bytes)).toMatch(/^ok/)
        // Cut at a border of blocks, so that only the end is missing.
        expect(await inspect(name, bytes.subarray(0, bytes.length - 1024))).toMatch(/^error/)
        expect(await inspect(name, bytes.subarray(0, (bytes.length >> 11) << 9))).toMatch(/^error/)
        const overwritten = Buffer.from(bytes)
        overwritten.write('overwritten')
        expect(await inspect(name, overwritten)).toMatch(/^error/)
      }
    })

    // One version is enough: what is undone is the same for all.
    if (version === VERSIONS.at(-1)) {
      test('is what was hashed when nothing is compressed and the storage is slow', async () => {
        const storage: Storage = {
          ...site.storage,
          put: (key, body, options) =>
            site.storage.put(key, body instanceof Uint8Array ? body : Readable.from(slowly(body)), options),
        }
        const plan = site.planWith({ compression: 'none', destinations: [storage] })
        const { id, manifest } = await createBackup(plan)
        expect(manifest.members.flatMap(({ codecs }) => codecs)).toEqual([])
        const files = await plainMembers(site, id) // throws for a byte that is not what was hashed
        expect(filesOf(files.get('backup_manifest') as Buffer).size).toBe(manifest.source.details?.files)
      })

      test('is the same when the server compresses what it sends', async () => {
        const compressed = physicalSite(server, { serverCompression: 'gzip', checkpoint: 'fast', maxRateKb: 1_048_576 })
        const { id } = await compressed.backup()
        const files = await plainMembers(compressed, id)
        const names = (from: Map<string, Buffer>) => [...filesOf(from.get('backup_manifest') as Buffer).keys()].sort()
        expect(names(files).filter((name) => name.startsWith('base/'))).toEqual(
          names(members).filter((name) => name.startsWith('base/')),
        )
      })
    }

    test('refuses a compression that the server does not have, and stores nothing', async () => {
      const compressed = physicalSite(server, { serverCompression: 'zstd' })
      const outcome = await compressed.backup().catch((error: unknown) => error)
      // Servers that were built with zstd make the backup.
      if (outcome instanceof Error) expect(outcome).toMatchObject({ code: 'SERVER_UNSUPPORTED' })
      else await plainMembers(compressed, (outcome as BackupResult).id)
    })

    if (version < 17) {
      test('is made instead of a differential, with the reason', async () => {
        await expect(site.backup('differential')).rejects.toMatchObject({ code: 'BASE_UNUSABLE' })
        const { manifest } = await createBackup(site.planWith({ strictKinds: false }), { kind: 'differential' })
        expect(manifest).toMatchObject({ kind: 'full', requested: { kind: 'differential' } })
        expect(manifest.requested?.reason).toContain(`PostgreSQL ${version}.`)
      })
    }
  })
}
