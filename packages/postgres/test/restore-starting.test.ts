import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  type BackupEvent,
  type BackupPlan,
  createBackup,
  defineBackupPlan,
  directory,
  keepAll,
  ownIdentity,
  pruneBackups,
  restoreBackup,
  undoRestore,
} from '@taskflow-backup/core'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type PostgresOptions, postgres } from '../src/index.ts'
import { endProcess, postmastersBelow, readPostmasterFile, runningPostmaster } from '../src/server/postmaster.ts'
import { RUN_AS, VERSIONS, type Version, whyNoServer } from './support/programs.ts'
import type { RestoreOrders } from './support/restore-worker.ts'
import { queryDataDirectory } from './support/restored.ts'
import { TestServer } from './support/server.ts'

const version = VERSIONS.findLast((one) => whyNoServer(one) === undefined) as Version
const reason = process.platform === 'linux' ? whyNoServer(version ?? 18) : 'processes are looked for in /proc'
if (reason) console.warn(`Nothing is killed while it starts a restored server: ${reason}`)

const STATE = 'SELECT name FROM state'
const RESTORED = [{ name: 'restored' }]

describe.skipIf(reason)(`a restore killed while it starts PostgreSQL ${version} on what it restored`, () => {
  let server: TestServer
  let options: PostgresOptions
  let backups: string
  let temporary: string

  beforeAll(async () => {
    server = await TestServer.start(version, { lean: true })
    backups = join(server.folder, 'backups')
    temporary = join(server.folder, 'temporary')
    await fs.mkdir(temporary)
    const physical = { serverPrograms: server.programs, ...(RUN_AS && { runAs: RUN_AS }) }
    options = { connection: server.connection(), mode: 'physical', physical }
    const space = join(server.folder, 'space')
    await fs.mkdir(space)
    if (RUN_AS) await fs.chown(space, RUN_AS.uid, RUN_AS.gid)
    await server.sql(`CREATE TABLESPACE space LOCATION '${space}'`)
    await server.sql("CREATE TABLE state TABLESPACE space AS SELECT 'restored' AS name")
    await createBackup(plan())
  })
  afterEach(async () => {
    for (const pid of await postmastersBelow(server.folder, restored()))
      if (pid !== server.pid) await endProcess(pid, 'SIGKILL', 240_000)
    for (const name of await places()) await fs.rm(join(server.folder, name), { recursive: true })
    for (const name of await fs.readdir(temporary)) await fs.rm(join(temporary, name), { recursive: true })
  })
  afterAll(() => server?.destroy())

  const plan = (): BackupPlan =>
    defineBackupPlan({
      name: 'app',
      adapter: postgres(options),
      destinations: [directory(backups)],
      temporaryDirectory: temporary,
      retention: keepAll(),
    })
  const restored = (): string => join(server.folder, 'restored')
  const places = async (): Promise<string[]> =>
    (await fs.readdir(server.folder)).filter((name) => name.includes('restored'))

  /**
   * Killed when the server in its final place has just been started, or is about to be: before it, one told its version,
   * one recovered.
   */
  async function killWhileStarting(text: 'before postgres' | 'after postgres' = 'after postgres'): Promise<void> {
    const worker: ChildProcess = fork(fileURLToPath(new URL('support/restore-worker.ts', import.meta.url)), {
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    })
    let said = ''
    worker.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    const closed = once(worker, 'close')
    await once(worker, 'message')
    const to = { dataDirectory: restored(), start: true }
    const killAt = { text, time: 3 }
    worker.send({ options, backups, temporary, to, overwrite: true, killAt } satisfies RestoreOrders)
    expect(await closed, said).toEqual([null, 'SIGKILL'])
  }

  async function untilReady(): Promise<void> {
    const ready = async () => (await readPostmasterFile(restored()))?.status
    await expect.poll(ready, { timeout: 60_000, interval: 20 }).toBe('ready')
  }

  async function connect(): Promise<pg.Client> {
    const [name] = (await places()).filter((one) => one.includes('.started-'))
    const client = new pg.Client({ host: join(server.folder, name as string), user: 'postgres', database: 'postgres' })
    client.on('error', () => {})
    await client.connect()
    return client
  }

  test.each([
    ['at once', async () => {}, async () => {}, []],
    ['when the server is up', async () => {}, untilReady, []],
    [
      'when something was replaced',
      async () => {
        await fs.mkdir(restored())
        await fs.writeFile(join(restored(), 'note'), 'kept')
      },
      untilReady,
      ['restored'],
    ],
  ])('is taken back by the next prune: %s', async (_, prepare, wait, left) => {
    await prepare()
    await killWhileStarting()
    await wait()
    await pruneBackups(plan())
    expect(await postmastersBelow(server.folder, restored())).toEqual([server.pid])
    expect(await places()).toEqual(left)
    if (left.length > 0) expect(await fs.readdir(restored())).toEqual(['note'])
    expect(await fs.readdir(temporary)).toEqual([])
    expect(await server.sql(STATE)).toEqual(RESTORED)
  })

  describe('before the server was started', () => {
    const warningsOf = async (work: (onEvent: (event: BackupEvent) => void) => Promise<unknown>): Promise<string[]> => {
      const warnings: string[] = []
      await work((event) => {
        if (event.type === 'warning') warnings.push(event.message)
      })
      return warnings
    }
    const pruning = (): Promise<string[]> => warningsOf((onEvent) => pruneBackups(plan(), { onEvent }))

    test('every prune tells of the cluster until somebody starts it, and keeps it', async () => {
      await killWhileStarting('before postgres')
      const told = expect.stringContaining(`put its cluster at ${restored()}, and before it started a server`)
      expect(await pruning()).toEqual([told])
      expect(await pruning()).toEqual([told])
      const again = restoreBackup(plan(), { to: { dataDirectory: restored(), start: true } })
      await expect(again).rejects.toMatchObject({ code: 'TARGET_EXISTS', hint: told })
      expect(await queryDataDirectory(restored(), server.programs, STATE)).toEqual(RESTORED)
      expect(await pruning()).toEqual([])
      expect(await fs.readdir(temporary)).toEqual([])
      expect(await places()).toEqual(['restored', expect.stringContaining('restored.tablespaces-')])
    })

    test('what it tells takes the restore back', async () => {
      await fs.mkdir(restored())
      await fs.writeFile(join(restored(), 'PG_VERSION'), 'kept')
      await killWhileStarting('before postgres')
      const [warning] = await pruning()
      const record = JSON.parse(/undoRestore\(plan, (.*)\)\.$/.exec(warning as string)?.[1] as string)
      await undoRestore(plan(), record)
      expect(await fs.readdir(restored())).toEqual(['PG_VERSION'])
      expect(await pruning()).toEqual([])
      expect((await places()).filter((place) => place.includes('.started-'))).toEqual([])
      expect(await fs.readdir(temporary)).toEqual([])
    })

    test('a swap that was not done is taken back, wherever it was', async () => {
      await killWhileStarting('before postgres')
      // As it is between the two renames: nothing in the place, both whole.
      const [name] = await fs.readdir(temporary)
      const { startIn, ...owner } = JSON.parse(await fs.readFile(join(temporary, name as string, 'owner.json'), 'utf8'))
      await fs.rm(startIn, { recursive: true })
      const folder = join(server.folder, '.restored.restoring-killed')
      const kept = owner.record.kept ?? join(server.folder, 'restored.before-restore')
      await fs.mkdir(folder)
      await fs.rename(restored(), join(folder, 'data'))
      await fs.mkdir(kept)
      await fs.writeFile(join(kept, 'note'), 'kept')
      await fs.writeFile(join(folder, 'owner.json'), JSON.stringify(owner))
      const record = { swap: { target: restored(), kept }, outside: owner.outside }
      await fs.writeFile(join(folder, 'restore.json'), JSON.stringify(record))
      expect(await pruning()).toEqual([expect.stringContaining('what was there before is there again')])
      expect(await places()).toEqual(['restored'])
      expect(await fs.readdir(restored())).toEqual(['note'])
      expect(await fs.readdir(temporary)).toEqual([])
    })
  })

  test('a server that somebody uses goes on, for good', async () => {
    await killWhileStarting()
    await untilReady()
    const client = await connect()
    try {
      await pruneBackups(plan())
      expect((await client.query(STATE)).rows).toEqual(RESTORED)
    } finally {
      await client.end()
    }
    expect(await fs.readdir(temporary)).toEqual([])
    await pruneBackups(plan())
    const again = await connect()
    expect((await again.query(STATE)).rows).toEqual(RESTORED)
    await again.end()
  })

  test('what somebody else has started since is theirs', async () => {
    await killWhileStarting()
    await untilReady()
    await endProcess((await runningPostmaster(restored())) as number, 'SIGINT', 240_000)
    expect(await queryDataDirectory(restored(), server.programs, STATE)).toEqual(RESTORED)
    await pruneBackups(plan())
    expect(await queryDataDirectory(restored(), server.programs, STATE)).toEqual(RESTORED)
    expect((await places()).filter((name) => name.includes('.started-'))).toEqual([])
    expect(await fs.readdir(temporary)).toEqual([])
  })

  test('one that is still at it is not disturbed', async () => {
    await killWhileStarting()
    await untilReady()
    const [name] = await fs.readdir(temporary)
    const file = join(temporary, name as string, 'owner.json')
    const facts = JSON.parse(await fs.readFile(file, 'utf8'))
    await fs.writeFile(file, JSON.stringify({ ...facts, ...(await ownIdentity()) }))
    await pruneBackups(plan())
    const client = await connect()
    expect((await client.query(STATE)).rows).toEqual(RESTORED)
    await client.end()
    expect(await fs.readdir(temporary)).toEqual([name])
  })

  test.skipIf(!RUN_AS)('a folder that another user made is not believed', async () => {
    const { uid, gid } = RUN_AS as { uid: number; gid: number }
    await killWhileStarting()
    await untilReady()
    const [name] = await fs.readdir(temporary)
    await fs.chown(join(temporary, name as string), uid, gid)
    await pruneBackups(plan())
    expect(await runningPostmaster(restored())).toBeGreaterThan(0)
  })
})
