import type { ChildProcess } from 'node:child_process'
import type { Socket } from 'node:net'
import type { AdapterContext, BackupAdapter, BackupKind, BackupResult } from '@taskflow-backup/core'
import { createBackup } from '@taskflow-backup/core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { resolveConnection } from '../src/connection.ts'
import { ReplicationConnection } from '../src/replication/connection.ts'
import { CuttingProxy } from './support/cutting-proxy.ts'
import { leftOnServer, logOnDisk, type PhysicalSite, physicalSite, plainMembers } from './support/physical.ts'
import { whyNoServer } from './support/programs.ts'
import { TestServer } from './support/server.ts'

const VERSION = 17
const missing = whyNoServer(VERSION)

describe.skipIf(missing)(`faults in a physical backup${missing ? ` (${missing})` : ''}`, () => {
  let server: TestServer
  let proxy: CuttingProxy
  let site: PhysicalSite
  /** Of the bytes that the server sends for a full. */
  let fullBytes: number

  beforeAll(async () => {
    server = await TestServer.start(VERSION, {
      lean: true,
      tcp: true,
      settings: { autovacuum: 'off', summarize_wal: 'on' },
    })
    proxy = await CuttingProxy.start(server.port)
    site = physicalSite(server, { slot: 'faults' }, server.connection({ port: proxy.port }))
    await server.sql('CREATE TABLE task AS SELECT g AS id, md5(g::text) AS title FROM generate_series(1, 1000) g')
    proxy.arm(Number.POSITIVE_INFINITY)
    await site.backup()
    fullBytes = proxy.bytes
  })
  afterAll(async () => {
    await proxy?.stop()
    await server?.destroy()
  })

  const insert = (rows: number): Promise<unknown> =>
    server.sql(`INSERT INTO task SELECT g, md5(g::text) FROM generate_series(1, ${rows}) g`)

  /** Makes a backup that must fail, and asserts that nothing of it is left. */
  async function fails(attempt: () => Promise<unknown>, what: string): Promise<unknown> {
    const before = await site.keys()
    const outcome = await attempt().catch((error: unknown) => error)
    expect(outcome, what).toMatchObject({ name: 'BackupError' })
    expect(await site.keys(), what).toEqual(before)
    return outcome
  }

  const nothingLeft = (): Promise<void> => expect.poll(() => leftOnServer(server)).toEqual([])

  /** The same adapter, with a hand on the children that it starts. */
  function withChildren(onChild: (child: ChildProcess) => void): BackupAdapter {
    const spawnFrom = (ctx: AdapterContext): AdapterContext['spawn'] =>
      ((...args: Parameters<AdapterContext['spawn']>) => {
        const child = ctx.spawn(...args)
        onChild(child)
        return child
      }) as AdapterContext['spawn']
    return {
      ...site.adapter,
      backup: (request, ctx) => site.adapter.backup(request, { ...ctx, spawn: spawnFrom(ctx) }),
    }
  }

  test('a connection that is cut anywhere in a full leaves nothing', async () => {
    // From the first messages over every part of the archives to the last bytes, in which all data has come already.
    const places = [10, 3_000, 0.1, 0.35, 0.6, 0.95].map((at) => (at < 1 ? Math.floor(at * fullBytes) : at))
    for (const [index, at] of [...places, fullBytes - 10_000, fullBytes - 1500].entries()) {
      proxy.arm(at)
      const error = await fails(() => site.backup(), `cut after ${at} of ${fullBytes} bytes`)
      expect(proxy.strikes, `cut ${index}`).toBe(1)
      expect(error).toMatchObject({ code: 'SERVER_UNREACHABLE', retryable: true })
    }
    proxy.arm(Number.POSITIVE_INFINITY)
    await nothingLeft()
    await site.backup()
  })

  test('bytes that change on the way fail a full', async () => {
    const flipping = await CuttingProxy.start(server.port)
    try {
      flipping.flipAt(Math.floor(fullBytes / 3))
      const flipped = physicalSite(server, {}, server.connection({ port: flipping.port }))
      const error = await flipped.backup().catch((thrown: unknown) => thrown)
      expect(flipping.strikes).toBe(1)
      expect(error).toMatchObject({ name: 'BackupError' })
      expect(await flipped.keys()).toEqual([])
    } finally {
      await flipping.stop()
    }
    await nothingLeft()
  })

  test('a log goes on over a connection that is cut, without a gap', async () => {
    for (const at of [100_000, 1_500_000, 3_000_000]) {
      await insert(40_000)
      proxy.arm(at)
      const { id, manifest } = await site.backup('log')
      expect(proxy.strikes).toBe(1)
      const [bytes] = [...(await plainMembers(site, id)).values()] as [Buffer]
      expect(bytes.equals(await logOnDisk(server, manifest))).toBe(true)
    }
    await nothingLeft()
  })

  test('a slot that another program reads is not fought over', async () => {
    await insert(100)
    const settings = await resolveConnection(server.connection())
    const other = await ReplicationConnection.connect(settings)
    try {
      const streaming = other.run('START_REPLICATION SLOT "faults" PHYSICAL 0/1000000').catch(() => {})
      await expect.poll(() => leftOnServer(server)).toContain('slot faults')
      const error = await fails(() => site.backup('log'), 'the slot is in use')
      expect(error).toMatchObject({
        code: 'SERVER_BUSY',
        retryable: true,
        hint: expect.stringContaining('slot of its own'),
      })
      other.destroy(new Error('enough'))
      await streaming
    } finally {
      await other.close()
    }
    await nothingLeft()
    expect((await site.backup('log')).manifest.kind).toBe('log')
  })

  test('a child that is killed leaves nothing', async () => {
    for (const kind of ['full', 'log'] as BackupKind[]) {
      await insert(20_000)
      const children: ChildProcess[] = []
      const adapter = withChildren((child) => {
        children.push(child)
        const timer = setInterval(() => {
          if ((child.stdio[3] as Socket).bytesRead > 0) child.kill('SIGKILL')
        }, 1)
        child.once('exit', () => clearInterval(timer))
      })
      const error = await fails(() => createBackup(site.planWith({ adapter }), { kind }), kind)
      expect(error).toMatchObject({ code: 'CHILD_FAILED' })
      expect(children.map(({ signalCode }) => signalCode)).toEqual(['SIGKILL'])
      await nothingLeft()
    }
    await insert(10)
    expect((await site.backup('log')).manifest.kind).toBe('log')
  })

  test('an abort ends the work, the child and the walsender', async () => {
    for (const [kind, at] of [
      ['full', 0.5 * fullBytes],
      ['log', 1_000_000],
    ] as [BackupKind, number][]) {
      await insert(20_000)
      const children: ChildProcess[] = []
      const adapter = withChildren((child) => children.push(child))
      const aborter = new AbortController()
      proxy.arm(Math.floor(at), () => aborter.abort())
      const plan = site.planWith({ adapter })
      const error = await fails(() => createBackup(plan, { kind, signal: aborter.signal }), kind)
      expect(proxy.strikes).toBe(1)
      expect(error).toMatchObject({ code: 'ABORTED' })
      expect(children.map(({ exitCode, signalCode }) => exitCode ?? signalCode)).toEqual(['SIGKILL'])
      await nothingLeft()
    }
  })

  test('a server that is killed in the middle leaves nothing, and the log goes on afterwards', async () => {
    const before = (await site.backup('log')) as BackupResult
    for (const kind of ['full', 'log'] as BackupKind[]) {
      await insert(20_000)
      let killed: Promise<void> | undefined
      proxy.arm(1_000_000, () => {
        killed = server.stop('SIGKILL')
      })
      const error = await fails(() => site.backup(kind), kind)
      expect(error).toMatchObject({ code: 'SERVER_UNREACHABLE', retryable: true })
      await killed
      await server.run()
      await nothingLeft()
    }
    const { manifest } = await site.backup('log')
    expect(manifest.position.begin).toBe(before.manifest.position.end)
  })
})
