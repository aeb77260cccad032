import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import {
  createBackup,
  defineBackupPlan,
  directory,
  keepAll,
  ownIdentity,
  pruneBackups,
  type UndoRecord,
} from '@taskflow-backup/core'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { type PostgresOptions, postgres } from '../src/index.ts'
import { postmastersBelow } from '../src/server/postmaster.ts'
import { RUN_AS, whyNoServer } from './support/programs.ts'
import type { RestoreOrders } from './support/restore-worker.ts'
import { queryDataDirectory } from './support/restored.ts'
import { TestServer } from './support/server.ts'

const VERSION = 17
/** `TASKFLOW_KILLS=300` for a long night. */
const KILLS = Number(process.env.TASKFLOW_KILLS ?? 16)
/** A restore, a prune and three starts of a server: about 3 s on two processors that have nothing else to do. */
const ROUND_MS = 20_000

vi.setConfig({ testTimeout: 300_000 + KILLS * ROUND_MS })

const reason = process.platform === 'linux' ? whyNoServer(VERSION) : 'processes are looked for in /proc'
if (reason) console.warn(`Restores are not killed: ${reason}`)

describe.skipIf(reason)('restores killed at random moments', () => {
  let server: TestServer
  let options: PostgresOptions
  let backups: string
  let temporary: string

  beforeAll(async () => {
    server = await TestServer.start(VERSION, { lean: true, settings: { fsync: 'off' }, initdb: ['--wal-segsize=1'] })
    backups = join(server.folder, 'backups')
    temporary = await fs.mkdtemp(join(tmpdir(), 'tf-'))
    await fs.chmod(temporary, 0o711)
    options = {
      connection: server.connection(),
      mode: 'physical',
      physical: {
        slot: 'backup',
        dataDirectory: server.dataDirectory,
        serverPrograms: server.programs,
        ...(RUN_AS && { runAs: RUN_AS }),
      },
    }
    await server.sql("CREATE TABLE state AS SELECT 'restored' AS name")
    await createBackup(plan())
    await server.sql("UPDATE state SET name = 'live'")
    await server.stop()
  })
  afterAll(async () => {
    await server?.destroy()
    await fs.rm(temporary, { recursive: true, force: true })
  })

  const plan = () =>
    defineBackupPlan({
      name: 'app',
      adapter: postgres(options),
      destinations: [directory(backups)],
      temporaryDirectory: temporary,
      retention: keepAll(),
    })

  const nameIn = async (directoryOf: string): Promise<string> => {
    const rows = await queryDataDirectory<{ name: string }>(directoryOf, server.programs, 'SELECT name FROM state')
    return rows.map(({ name }) => name).join()
  }

  /** Starts a worker, and kills it: at the n-th thing that it says, or after a while. */
  async function runAndKill(orders: Omit<RestoreOrders, 'options' | 'backups' | 'temporary'>, afterMs?: number) {
    const worker: ChildProcess = fork(fileURLToPath(new URL('support/restore-worker.ts', import.meta.url)), {
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    })
    const said: string[] = []
    let undo: UndoRecord | undefined
    const done = new Promise<void>((resolve) => {
      worker.stdout?.setEncoding('utf8').on('data', (text: string) => {
        said.push(...text.trim().split('\n'))
        if (said.some((line) => /^(done|failed)/.test(line))) resolve()
      })
    })
    worker.on('message', (message: { undo?: UndoRecord }) => {
      undo = message.undo ?? undo
    })
    const closed = once(worker, 'close')
    await once(worker, 'message')
    worker.send({ ...orders, options, backups, temporary } satisfies RestoreOrders)
    await Promise.race([closed, afterMs === undefined ? done : sleep(afterMs)])
    worker.kill('SIGKILL')
    await closed
    expect(said.filter((line) => line.startsWith('failed'))).toEqual([])
    return { said, undo }
  }

  /** What must hold after a kill, once the next verb has come by. */
  async function checkPeace(): Promise<{ live: string; kept: string[] }> {
    await pruneBackups(plan())
    if (await letAMinutePass()) await pruneBackups(plan())
    expect(await postmastersBelow(server.folder, server.dataDirectory)).toEqual([])
    expect(await postmastersBelow(temporary, server.dataDirectory)).toEqual([])
    expect(await fs.readdir(temporary)).toEqual([])
    const parent = dirname(server.dataDirectory)
    const names = (await fs.readdir(parent)).filter((name) => !['data', 'log', 'password', 'backups'].includes(name))
    const kept = names.filter((name) => name.startsWith(`${basename(server.dataDirectory)}.before-restore-`))
    expect(kept).toEqual(names)
    const live = await nameIn(server.dataDirectory)
    const states: string[] = []
    for (const name of kept) states.push(await nameIn(join(parent, name)))
    return { live, kept: states }
  }

  /** A folder of ours that does not say yet whose it is may belong to somebody alive, and stays for a minute. */
  async function letAMinutePass(): Promise<boolean> {
    const folders = [dirname(server.dataDirectory), temporary]
    const paths = await Promise.all(
      folders.map(async (folder) => (await fs.readdir(folder)).map((name) => join(folder, name))),
    )
    const young = paths.flat().filter((path) => /\.restoring-|taskflow-backup-/.test(path))
    for (const path of young) {
      expect(await fs.readFile(join(path, 'owner.json'), 'utf8').catch(() => '')).toBe('')
      await fs.utimes(path, new Date(Date.now() - 61_000), new Date(Date.now() - 61_000))
    }
    return young.length > 0
  }

  /** Puts the live data directory back, for the next round. */
  async function goBack(): Promise<void> {
    const parent = dirname(server.dataDirectory)
    const kept = (await fs.readdir(parent)).filter((name) => name.startsWith('data.before-restore-'))
    for (const name of kept) {
      const path = join(parent, name)
      if ((await nameIn(path)) === 'live') {
        await fs.rm(server.dataDirectory, { recursive: true })
        await fs.rename(path, server.dataDirectory)
      } else await fs.rm(path, { recursive: true })
    }
  }

  test(`${KILLS} times: the live cluster is the old or the new one, whole, and nothing is left over`, async () => {
    const startedMs = performance.now()
    const whole = await runAndKill({})
    const durationMs = performance.now() - startedMs
    expect(whole.said.at(-1)).toBe('done')
    expect(await checkPeace()).toEqual({ live: 'restored', kept: ['live'] })
    await goBack()
    const hits = new Set<string>()
    for (let round = 0; round < KILLS; round++) {
      // Half of them at one of the things that it says, so that short phases have their turn as well.
      const byTime = round % 2 === 0
      const killAt = 1 + Math.floor((round / KILLS) * (whole.said.length - 1))
      const { said } = byTime ? await runAndKill({}, Math.random() * durationMs) : await runAndKill({ killAt })
      hits.add(`${said.length} ${said.at(-1)}`)
      const after = await checkPeace()
      expect(after, `round ${round}: ${said.join(', ')}`).toEqual(
        after.live === 'live' ? { live: 'live', kept: [] } : { live: 'restored', kept: ['live'] },
      )
      await goBack()
    }
    // It is no use to kill at the same moment again and again.
    expect(hits.size).toBeGreaterThanOrEqual(Math.min(5, KILLS / 3))
  })

  test('between the two renames: what was live is live again', async () => {
    // As it is when the process ends exactly there.
    const staging = join(dirname(server.dataDirectory), '.data.restoring-killedkilled')
    const kept = `${server.dataDirectory}.before-restore-20260101T000000-abcd`
    await fs.mkdir(join(staging, 'data'), { recursive: true })
    // More than a Linux system has.
    const nobody = { pid: 2 ** 22 + 1 }
    await fs.writeFile(join(staging, 'owner.json'), JSON.stringify({ ...(await ownIdentity()), ...nobody }))
    await fs.writeFile(
      join(staging, 'restore.json'),
      JSON.stringify({ swap: { target: server.dataDirectory, kept }, outside: [] }),
    )
    await fs.rename(server.dataDirectory, kept)
    expect(await checkPeace()).toEqual({ live: 'live', kept: [] })
  })

  test('an undo that is killed leaves the one or the other, whole', async () => {
    const { undo } = await runAndKill({})
    expect(undo).toMatchObject({ target: server.dataDirectory })
    expect((await checkPeace()).live).toBe('restored')
    const { said } = await runAndKill({ undo: undo as UndoRecord, killAt: 3 })
    expect(said.length).toBe(3)
    const after = await checkPeace()
    expect([after.live, ...after.kept].sort()).toEqual(['live', 'restored'])
    await goBack()
  })
})
