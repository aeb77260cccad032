import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { createBackup, type Manifest } from '@taskflow-backup/core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parsePosition, type WalPosition } from '../src/position.ts'
import {
  leftOnServer,
  type PhysicalSite,
  physicalSite,
  plainMembers,
  readLog,
  segmentName,
} from './support/physical.ts'
import { installedProgram, RUN_AS, VERSIONS, whyNoServer } from './support/programs.ts'
import { TestServer } from './support/server.ts'

const SEGMENT = 16 * 1024 * 1024
const SLOT = 'backup_slot'

const hex = (number: bigint | number, digits: number): string => number.toString(16).toUpperCase().padStart(digits, '0')

const endOf = ({ position }: Manifest): WalPosition => parsePosition(position.end)
const beginOf = ({ position }: Manifest): WalPosition => parsePosition(position.begin as string)

async function restartLsn(server: TestServer): Promise<string | null | undefined> {
  const [row] = await server.sql('SELECT restart_lsn::text FROM pg_replication_slots WHERE slot_name = $1', [SLOT])
  return row?.restart_lsn
}

const insert = (server: TestServer, rows = 1000): Promise<unknown> =>
  server.sql(`INSERT INTO task (title) SELECT md5(random()::text) FROM generate_series(1, ${rows})`)

/** Makes the server begin a new timeline, as a failover does; its slots stay. */
async function changeTimeline(server: TestServer): Promise<void> {
  await server.stop()
  const signal = join(server.dataDirectory, 'recovery.signal')
  await fs.writeFile(signal, '')
  if (RUN_AS) await fs.chown(signal, RUN_AS.uid, RUN_AS.gid)
  await server.run()
  for (;;) {
    const [row] = await server.sql('SELECT pg_is_in_recovery() AS busy')
    if (!row?.busy) return
  }
}

for (const version of VERSIONS) {
  const missing = whyNoServer(version)
  describe.skipIf(missing)(`log backups of PostgreSQL ${version}${missing ? ` (${missing})` : ''}`, () => {
    let server: TestServer
    let site: PhysicalSite
    beforeAll(async () => {
      // No other log than ours, so that a test knows when there is nothing new; nothing is removed from pg_wal.
      const settings = { wal_keep_size: '1GB', max_slot_wal_keep_size: '1GB', restore_command: '/bin/false' }
      server = await TestServer.start(version, { lean: true, settings: { ...settings, autovacuum: 'off' } })
      await server.sql('CREATE TABLE task (id serial PRIMARY KEY, title text)')
      site = physicalSite(server, { slot: SLOT })
    })
    afterAll(() => server?.destroy())

    test('a full makes the slot, and logs hold exactly the bytes of the server, without a gap', async () => {
      expect(await restartLsn(server)).toBeUndefined()
      const full = await site.backup()
      expect(full.manifest.source.details).toMatchObject({ slotMade: true })
      expect(await restartLsn(server)).toMatch(/\//)
      let at = full.manifest.position.end
      for (const rows of [1, 60_000, 10]) {
        const [{ now: before }] = (await server.sql('SELECT clock_timestamp() AS now')) as [{ now: Date }]
        await insert(server, rows)
        const { id, manifest } = await site.backup('log')
        expect(manifest.kind).toBe('log')
        expect(manifest.position.begin).toBe(at)
        const [begin, end] = [beginOf(manifest), endOf(manifest)]
        const members = await plainMembers(site, id)
        expect([...members.keys()]).toEqual([`00000001.${hex(begin.lsn, 16)}.wal`])
        const [bytes] = members.values() as unknown as [Buffer]
        expect(bytes.length).toBe(Number(end.lsn - begin.lsn))
        expect(bytes.equals(await readLog(server, begin, bytes.length))).toBe(true)
        expect(Date.parse(manifest.consistentAt)).toBeLessThanOrEqual(Date.now())
        expect(Date.parse(manifest.consistentAt)).toBeGreaterThan(before.getTime() - 60_000)
        at = manifest.position.end
      }
      await expect.poll(() => leftOnServer(server)).toEqual([])
    })

    test('the slot moves up to what was committed before, never to what is being backed up', async () => {
      await insert(server)
      const first = await site.backup('log')
      expect(await restartLsn(server)).toBe(first.manifest.position.begin?.split(':')[1])
      await insert(server)
      const failing = site.planWith({
        destinations: [Object.assign(Object.create(site.storage), { put: () => Promise.reject(new Error('full')) })],
      })
      await expect(createBackup(failing, { kind: 'log' })).rejects.toThrow()
      await insert(server)
      const second = await site.backup('log')
      expect(second.manifest.position.begin).toBe(first.manifest.position.end)
      expect(await restartLsn(server)).toBe(first.manifest.position.end.split(':')[1])
    })

    test('a log of no change is one empty member', async () => {
      await insert(server)
      await server.sql('CHECKPOINT')
      let last = await site.backup('log')
      // The server may log a snapshot of its transactions by itself, but not for ever.
      for (let round = 0; round < 50; round++) {
        const next = await site.backup('log')
        const empty = next.manifest.position.begin === next.manifest.position.end
        expect(next.manifest.position.begin).toBe(last.manifest.position.end)
        last = next
        if (empty) break
      }
      const members = await plainMembers(site, last.id)
      expect([...members.values()].map((bytes) => bytes.length)).toEqual([0])
    })

    test('passes its inspection; a flipped bit in a record does not', async () => {
      await insert(server, 20_000)
      const { id, manifest } = await site.backup('log')
      const [name, bytes] = [...(await plainMembers(site, id))][0] as [string, Buffer]
      const ctx = { ...site.plan.runtime, signal: new AbortController().signal, onProgress() {}, onWarning() {} }
      const inspect = async (content: Buffer, plainBytes = content.length) => {
        const stem = manifest.members[0]?.name.split('.')[0]
        const body = Readable.from([content], { objectMode: false })
        const [finding] = await site.adapter.inspect({ name: `${stem}.${name}`, body, plainBytes }, ctx)
        return finding
      }
      expect(await inspect(bytes)).toMatchObject({ severity: 'ok' })
      expect(await inspect(bytes.subarray(0, bytes.length - 8), bytes.length)).toMatchObject({ severity: 'error' })
      for (const at of [0, 17, 1000, bytes.length >> 1]) {
        const damaged = Buffer.from(bytes)
        damaged[at] = (damaged[at] as number) ^ 0x10
        expect(await inspect(damaged), `bit at ${at}`).toMatchObject({ severity: 'error', code: 'MEMBER_DAMAGED' })
      }
    })

    const program = installedProgram(version, 'pg_waldump')
    test('is what pg_waldump reads', async ({ skip }) => {
      skip(program === undefined, `there is no pg_waldump of ${version} here`)
      await server.sql('SELECT pg_switch_wal()')
      await site.backup('log')
      await insert(server, 100)
      const { id, manifest } = await site.backup('log')
      const [[, bytes]] = [...(await plainMembers(site, id))] as [[string, Buffer]]
      const begin = beginOf(manifest)
      const segment = Buffer.alloc(SEGMENT)
      bytes.copy(segment, Number(begin.lsn % BigInt(SEGMENT)))
      const folder = await fs.mkdtemp(join(server.folder, 'waldump-'))
      await fs.writeFile(join(folder, segmentName(begin)), segment)
      const [from, to] = [manifest.position.begin, manifest.position.end].map((text) => text?.split(':')[1] as string)
      const dump = spawnSync(program as string, ['-p', folder, '-s', from as string, '-e', to as string])
      expect(dump.status, String(dump.stderr)).toBe(0)
      expect(String(dump.stdout)).toContain('COMMIT')
    })

    test('a new full keeps the time before it reachable from the old chain', async () => {
      const last = await site.backup('log')
      await insert(server)
      const full = await site.backup()
      expect(full.manifest.source.details).toMatchObject({ slotMade: false })
      await insert(server)
      const { manifest: log } = await site.backup('log')
      const [begin, oldEnd, fullEnd] = [beginOf(log), endOf(last.manifest), endOf(full.manifest)]
      expect(begin.lsn).toBeLessThanOrEqual(oldEnd.lsn)
      expect(endOf(log).lsn).toBeGreaterThan(fullEnd.lsn)
      expect(site.adapter.follows?.(log, last.manifest)).toBe(true)
      const other = {
        ...last.manifest,
        source: { ...last.manifest.source, details: { mode: 'physical', systemIdentifier: '1' } },
      }
      expect(site.adapter.follows?.(log, other)).toBe(false)
      // From here on, the slot need not keep what this log holds.
      await insert(server)
      await site.backup('log')
      expect(await restartLsn(server)).toBe(log.position.end.split(':')[1])
    })

    test('follows a new timeline, with its history', async () => {
      await insert(server)
      const before = await site.backup('log')
      await insert(server, 5_000)
      await changeTimeline(server)
      await insert(server, 5_000)
      const { id, manifest } = await site.backup('log')
      expect(manifest.position.begin).toBe(before.manifest.position.end)
      expect(endOf(manifest).timeline).toBe(2)
      const members = await plainMembers(site, id)
      const history = manifest.source.details?.history as [[number, string]]
      expect(history).toEqual([[1, expect.stringMatching('/')]])
      const left = parsePosition(`1:${history[0][1]}`)
      expect([...members.keys()]).toEqual([
        `00000001.${hex(beginOf(manifest).lsn, 16)}.wal`,
        `00000002.${hex(left.lsn, 16)}.wal`,
        '00000002.history',
      ])
      const [first, second, text] = [...members.values()] as [Buffer, Buffer, Buffer]
      expect(first.equals(await readLog(server, beginOf(manifest), Number(left.lsn - beginOf(manifest).lsn)))).toBe(
        true,
      )
      expect(
        second.equals(await readLog(server, { timeline: 2, lsn: left.lsn }, Number(endOf(manifest).lsn - left.lsn))),
      ).toBe(true)
      expect(text.equals(await fs.readFile(join(server.dataDirectory, 'pg_wal', '00000002.history')))).toBe(true)
      await insert(server)
      const next = await site.backup('log')
      expect(next.manifest.position.begin).toBe(manifest.position.end)
      const ctx = { ...site.plan.runtime, signal: new AbortController().signal, onProgress() {}, onWarning() {} }
      for (const member of manifest.members) {
        const content = members.get(member.name.slice(member.name.indexOf('.') + 1)) as Buffer
        const body = Readable.from([content], { objectMode: false })
        const findings = await site.adapter.inspect({ name: member.name, body, plainBytes: content.length }, ctx)
        expect(findings.map(({ severity, message }) => `${severity} ${message}`)).toEqual([
          expect.stringMatching('^ok'),
        ])
      }
    })

    test('refuses to continue on a history that went another way', async () => {
      const { manifest } = await site.backup('log')
      const ahead = `1:${manifest.position.end.split(':')[1]}` // timeline 1 was left long before
      const ctx = { ...site.plan.runtime, signal: new AbortController().signal, onProgress() {}, onWarning() {} }
      const attempt = async (previous: Manifest): Promise<unknown> => {
        const open = {
          manifest: previous,
          destination: 'x',
          open: async () => Readable.from([]),
          openStored: async () => Readable.from([]),
        }
        const request = {
          kind: 'log',
          id: 'x/y',
          startedAt: new Date(),
          fileStem: 'x',
          compression: site.plan.compression,
          base: { full: open, previous: open, logs: async () => [] },
        } as const
        return site.adapter
          .backup(request, ctx)
          .next()
          .catch((error: unknown) => error)
      }
      const withDetails = (details: object): Manifest => ({
        ...manifest,
        source: { ...manifest.source, details: { ...manifest.source.details, ...details } as never },
      })
      expect(await attempt({ ...manifest, position: { end: ahead } })).toMatchObject({
        code: 'BASE_UNUSABLE',
        message: expect.stringContaining('was left at'),
      })
      expect(await attempt({ ...manifest, position: { end: '2:FF/0' } })).toMatchObject({
        code: 'BASE_UNUSABLE',
        message: expect.stringContaining('before FF/0'),
      })
      expect(await attempt({ ...manifest, position: { end: '7:0/0' } })).toMatchObject({ code: 'BASE_UNUSABLE' })
      expect(await attempt(withDetails({ systemIdentifier: '1' }))).toMatchObject({
        code: 'BASE_UNUSABLE',
        message: expect.stringContaining('another cluster'),
      })
      expect(await attempt(withDetails({ mode: 'logical' }))).toMatchObject({ code: 'BASE_UNUSABLE' })
    })

    test('a missing slot is found, and a full mends it', async () => {
      await site.backup('log')
      await server.sql('SELECT pg_drop_replication_slot($1)', [SLOT])
      const before = await site.keys()
      await expect(site.backup('log')).rejects.toMatchObject({
        code: 'BASE_UNUSABLE',
        message: expect.stringContaining(`no replication slot "${SLOT}"`),
      })
      expect(await site.keys()).toEqual(before)
      const { manifest } = await createBackup(site.planWith({ strictKinds: false }), { kind: 'log' })
      expect(manifest).toMatchObject({ kind: 'full', requested: { kind: 'log' } })
      await insert(server)
      expect((await site.backup('log')).manifest.kind).toBe('log')
    })

    test('an invalidated slot is found, and a full makes it anew', async () => {
      await site.backup('log')
      await server.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
      await server.sql("ALTER SYSTEM SET wal_keep_size = '0'")
      await server.sql('SELECT pg_reload_conf()')
      for (let round = 0; round < 20; round++) {
        await insert(server, 100)
        await server.sql('SELECT pg_switch_wal()')
        await server.sql('CHECKPOINT')
        const [row] = await server.sql('SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1', [SLOT])
        if (row?.wal_status === 'lost') break
      }
      await expect(site.backup('log')).rejects.toMatchObject({
        code: 'BASE_UNUSABLE',
        message: expect.stringContaining('was invalidated'),
      })
      await server.sql('ALTER SYSTEM RESET ALL')
      await server.sql('SELECT pg_reload_conf()')
      const full = await site.backup()
      expect(full.manifest.source.details).toMatchObject({ slotMade: true })
      expect(full.manifest.notes.join()).toContain('made anew')
      await insert(server)
      const log = await site.backup('log')
      expect(log.manifest.position.begin).toBe(full.manifest.position.end)
      await expect.poll(() => leftOnServer(server)).toEqual([])
    })
  })
}
