import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createBackup, listBackups, pruneBackups, type UndoRecord, verifyBackup } from '@taskflow-backup/core'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { LogicalOptions } from '../src/index.ts'
import { Databases, quoted, startSharedServer, whyNoLogical } from './support/databases.ts'
import type { LogicalOrders } from './support/logical-worker.ts'
import { programsOn } from './support/processes.ts'
import { clientPrograms } from './support/programs.ts'
import type { TestServer } from './support/server.ts'

vi.setConfig({ testTimeout: 1_800_000 })

/** `TASKFLOW_KILLS=500` for a long night. */
const KILLS = Number(process.env.TASKFLOW_KILLS ?? 16)
const SEED = Number(process.env.TASKFLOW_SEED ?? Date.now() % 1_000_000)
const ROWS = 20_000
const JOBS = ['backup', 'restore', 'restore', 'undo'] as const
const FORMATS: readonly NonNullable<LogicalOptions['format']>[] = ['custom', 'directory']

const why = whyNoLogical() ?? (process.platform === 'linux' ? undefined : 'processes are looked at in /proc')
let server: TestServer

describe.skipIf(why !== undefined)(`killed at random moments${why === undefined ? '' : `: ${why}`}`, () => {
  beforeAll(async () => {
    server = await startSharedServer()
  })
  afterAll(() => server?.destroy())

  test(`${KILLS} times: an old or a new database, and nothing left after the next prune`, async ({
    onTestFinished,
  }) => {
    const databases = await Databases.make(server, {
      sql: `CREATE TABLE task AS SELECT i AS id, 'task ' || i AS title FROM generate_series(1, ${ROWS}) i;
        CREATE INDEX ON task (title); CREATE TABLE round AS SELECT 0 AS n`,
    })
    onTestFinished(() => databases.destroy())
    const random = randomFrom(SEED)
    const hits: string[] = []
    await createBackup(databases.plan())
    for (let round = 0; round < KILLS; round++) {
      const job = JOBS[round % JOBS.length] as (typeof JOBS)[number]
      const format = FORMATS[Math.floor(round / JOBS.length) % FORMATS.length] as (typeof FORMATS)[number]
      hits.push(`${job}: ${await killOnce(databases, { job, format, round, random })}`)
    }
    console.log(`kills by the last thing said before (seed ${SEED}):\n${hits.join('\n')}`)
    // It is no use to kill only before the work begins, or when it is done.
    expect(new Set(hits.filter((hit) => !/: (done|nothing)$/.test(hit))).size).toBeGreaterThanOrEqual(
      KILLS >= 16 ? 3 : 0,
    )
  })
})

interface Round {
  readonly job: (typeof JOBS)[number]
  readonly format: NonNullable<LogicalOptions['format']>
  readonly round: number
  readonly random: () => number
}

/** How long each job takes, and how many things it says, when nobody kills it. */
const wholes = new Map<string, { durationMs: number; lines: number; kills: number }>()

async function killOnce(databases: Databases, { job, format, round, random }: Round): Promise<string> {
  const options = {
    connection: databases.server.connection({ database: databases.live }),
    clientPrograms: clientPrograms()?.folder as string,
    logical: { format },
  }
  const plan = databases.plan({ postgres: options })
  await databases.sql(`UPDATE round SET n = ${round + 1}`)
  const undo = job === 'undo' ? await fakeRestored(databases) : undefined
  const before = await contentOf(databases)
  const worker = startWorker()
  await once(worker, 'message')
  const key = `${job} ${format}`
  const whole = wholes.get(key)
  // Every other one at something that it says, so that short phases have their turn as well.
  const killAt = whole && whole.kills++ % 2 === 0 ? 1 + Math.floor(random() * (whole.lines - 1)) : undefined
  const orders: LogicalOrders = {
    job,
    postgres: options,
    backups: join(databases.folder, 'backups'),
    temporary: databases.temporary,
    ...(undo && { undo }),
    ...(killAt && { killAt }),
  }
  const said: string[] = []
  worker.stdout?.setEncoding('utf8').on('data', (text: string) => said.push(...text.trim().split('\n')))
  const startedMs = performance.now()
  const closed = once(worker, 'close')
  worker.send(orders)
  const done = (async () => {
    while (!said.some((line) => line === 'done' || line.startsWith('failed')))
      await once(worker.stdout as never, 'data')
  })()
  await Promise.race([closed, whole && !killAt ? sleep(whole.durationMs * random()) : done])
  if (!whole) wholes.set(key, { durationMs: performance.now() - startedMs, lines: said.length, kills: 0 })
  worker.kill('SIGKILL')
  await closed
  expect(said.filter((line) => line.startsWith('failed'))).toEqual([])

  await expectNobodyLeft(databases)
  const { restoreLeftovers } = await pruneBackups(plan)
  expect(restoreLeftovers.filter((name) => !/_restoring_[a-z0-9]{12}$|taskflow-backup-postgres-/.test(name))).toEqual(
    [],
  )
  const { backups } = await listBackups(plan)
  for (const { id } of backups.slice(-1)) await verifyBackup(plan, { id, level: 'decoded' })
  await expectWhole(databases, { job, before, undo })
  return said.at(-1) ?? 'nothing'
}

/** Every program and every session of the killed app ends by itself, soon. */
async function expectNobodyLeft(databases: Databases): Promise<void> {
  await expect.poll(() => programsOn(databases.server.folder)).toEqual([])
  await expect.poll(() => databases.sessions()).toEqual([])
}

async function expectWhole(
  databases: Databases,
  { job, before, undo }: { job: string; before: unknown; undo: UndoRecord | undefined },
): Promise<void> {
  expect(await databases.staged()).toEqual([])
  // A folder that has no owner yet belongs to nobody; it is removed when it is a minute old.
  for (const name of await readdir(databases.temporary))
    expect(await readdir(join(databases.temporary, name))).toEqual([])
  const now = await contentOf(databases)
  const kept = (await databases.list()).filter((name) => name.includes('_before_restore_'))
  const swapped = JSON.stringify(now) !== JSON.stringify(before)
  if (swapped) expect(['restore', 'undo']).toContain(job)
  expect(now).toMatchObject({ rows: ROWS, round: expect.any(Number) })
  expect(kept).toHaveLength(swapped || undo ? 1 : 0)
  for (const name of kept) {
    const there = await contentOf(databases, databases.prefix + name)
    if (swapped) expect(there).toEqual(before)
    await databases.server.sql(`DROP DATABASE ${quoted(databases.prefix + name)}`)
  }
}

async function contentOf(databases: Databases, name = databases.live): Promise<{ rows: number; round: number }> {
  const [row] = await databases.sql<{ rows: number; round: number }>(
    'SELECT (SELECT count(*)::int FROM task) AS rows, (SELECT n FROM round) AS round',
    name,
  )
  return row as { rows: number; round: number }
}

/** What a restore would have left: the database that was replaced, and its record. */
async function fakeRestored({ server, live }: Databases): Promise<UndoRecord> {
  const kept = `${live}_before_restore_20261122_000000_fake`
  await server.sql(`CREATE DATABASE ${quoted(kept)} TEMPLATE ${quoted(live)}`)
  return { engine: 'postgres', target: live, kept, promotedAt: new Date().toISOString() }
}

function startWorker(): ChildProcess {
  const file = fileURLToPath(new URL('support/logical-worker.ts', import.meta.url))
  return spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
}

/** Numbers from 0 to 1, the same for the same seed. */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}
