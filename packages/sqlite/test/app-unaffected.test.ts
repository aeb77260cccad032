import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import {
  createBackup,
  directory,
  listBackups,
  type Runtime,
  restoreBackup,
  type Storage,
  undoRestore,
  verifyBackup,
} from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import { randomFrom } from './support/ledger.ts'
import { type Place, test } from './support/place.ts'
import { startScript } from './support/processes.ts'
import { addTask, createTasks, tasksIn } from './support/tasks.ts'

const SILENT = fileURLToPath(new URL('support/silent-hook.ts', import.meta.url))

/** Runs the library's children as usual, or with a hook and variables for it, and shows them. */
function watched(
  onChild: (child: ChildProcess, job: string) => void = () => {},
  { hook, ...variables }: { readonly hook?: string; readonly [variable: string]: string | undefined } = {},
) {
  const children: ChildProcess[] = []
  const watch = (command: string, args: readonly string[], options: SpawnOptions): ChildProcess => {
    const imports = hook === undefined ? [] : ['--import', hook]
    const child = spawn(command, [...imports, ...args], { ...options, env: { ...options.env, ...variables } })
    children.push(child)
    const send = child.send.bind(child) as (message: object, sent: () => void) => boolean
    child.send = ((message: { job: string }, sent: () => void) => {
      onChild(child, message.job)
      return send(message, sent)
    }) as ChildProcess['send']
    return child
  }
  return { children, runtime: { spawn: watch as Runtime['spawn'] } }
}

function createLarge(place: Place): void {
  createTasks(place.file, ['one'])
  const database = new Database(place.file)
  database.exec('CREATE TABLE filler (v); INSERT INTO filler VALUES (randomblob(9000000))')
  database.close()
}

async function expectNothingLeft(place: Place): Promise<void> {
  const { backups, incomplete } = await listBackups(place.plan())
  expect({ backups, incomplete }).toEqual({ backups: [], incomplete: [] })
  expect(readdirSync(place.temporary)).toEqual([])
  const stored = existsSync(place.backups) ? readdirSync(place.backups, { recursive: true }) : []
  expect(stored.filter((name) => statSync(`${place.backups}/${name}`).isFile())).toEqual([])
}

describe('the app', () => {
  test('ends by itself after every verb', async ({ place }) => {
    createTasks(place.file, ['one'])
    const app = place.track(startScript('all-verbs.ts', { argv: [place.file, place.backups, place.temporary] }))
    app.disconnect()
    const [[code], held] = await Promise.all([once(app, 'exit'), text(app.stdout as NodeJS.ReadableStream)])
    expect(code).toBe(0)
    expect(JSON.parse(held)).toEqual([])
  })

  test('may abort at any moment: ABORTED, no child, nothing stored, no unhandled rejection', async ({ place }) => {
    createLarge(place)
    const unhandled: unknown[] = []
    const note = (reason: unknown): void => void unhandled.push(reason)
    process.on('unhandledRejection', note)
    place.atEnd(() => process.off('unhandledRejection', note))
    const random = randomFrom(7)
    const { children, runtime } = watched()
    const plan = place.plan({ runtime })
    let durationMs = 1000
    let aborted = 0
    for (let i = 0; i < 14; i++) {
      const abort = new AbortController()
      const startedMs = performance.now()
      const timer = setTimeout(() => abort.abort(), random() * durationMs)
      const outcome = await createBackup(plan, { signal: abort.signal }).then(
        ({ id }) => id,
        (error) => error.code,
      )
      clearTimeout(timer)
      expect(children.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)).toEqual([])
      if (outcome !== 'ABORTED') {
        // It was done before: a machine is not always equally busy.
        durationMs = performance.now() - startedMs
        expect((await listBackups(plan)).backups.map(({ id }) => id)).toEqual([outcome])
        rmSync(join(place.backups, plan.name), { recursive: true })
        continue
      }
      aborted++
      expect((await listBackups(plan)).incomplete).toEqual([])
      expect((await listBackups(plan)).backups).toEqual([])
    }
    expect(aborted).toBeGreaterThan(0)
    expect(readdirSync(place.temporary)).toEqual([])
    expect(unhandled).toEqual([])
  })

  test('may abort a restore while it is built or checked: the live database stays', async ({ place }) => {
    createLarge(place)
    await createBackup(place.plan())
    addTask(place.file, 'two')
    for (const at of ['openers', 'check']) {
      const abort = new AbortController()
      const { children, runtime } = watched((_, job) => job === at && abort.abort())
      const restoring = restoreBackup(place.plan({ runtime }), { signal: abort.signal })
      await expect(restoring).rejects.toMatchObject({ code: 'ABORTED' })
      expect(children.at(-1)?.signalCode).toBe('SIGKILL')
      expect(tasksIn(place.file)).toEqual(['one', 'two'])
      expect(await place.besideLive()).toEqual(['tasks.db'])
    }
  })
})

describe('a child', () => {
  test('that somebody kills fails the backup, which may be tried again; nothing is stored', async ({ place }) => {
    createLarge(place)
    // Before it begins, and after these many bytes came of it: of nine million, so many more do not fit into the pipe.
    for (const killAfterBytes of [undefined, 1, 4_000_000]) {
      const { children, runtime } = watched((child) => killAfterBytes === undefined && child.kill('SIGKILL'))
      let came = 0
      async function* passing(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
        for await (const piece of body) {
          came += piece.length
          if (killAfterBytes !== undefined && came >= killAfterBytes) children.at(-1)?.kill('SIGKILL')
          yield piece
        }
      }
      const storage = directory(place.backups)
      const put: Storage['put'] = (key, body, options) =>
        storage.put(key, body instanceof Readable ? Readable.from(passing(body), { objectMode: false }) : body, options)
      const plan = place.plan({ runtime, destinations: [{ ...storage, put }] })
      await expect(createBackup(plan)).rejects.toMatchObject({
        code: 'CHILD_FAILED',
        retryable: true,
        message: expect.stringContaining('SIGKILL'),
      })
      await expectNothingLeft(place)
    }
  })

  test('that cannot be started', async ({ place }) => {
    createTasks(place.file, ['one'])
    const start = (_: string, args: readonly string[], options: object) =>
      spawn(place.path('no-such-node'), args, options)
    const plan = place.plan({ runtime: { spawn: start as Runtime['spawn'] } })
    await expect(createBackup(plan)).rejects.toMatchObject({
      code: 'CHILD_FAILED',
      message: expect.stringContaining('could not be started'),
    })
    await expect(verifyBackup(plan)).rejects.toMatchObject({ code: 'BACKUP_NOT_FOUND' })
    await expectNothingLeft(place)
  })

  test('that is killed before its swap has not swapped, and the verb says so', async ({ place }) => {
    createTasks(place.file, ['backed up'])
    await createBackup(place.plan())
    addTask(place.file, 'newer')
    const { runtime } = watched((child, job) => job === 'swap' && child.kill('SIGKILL'))
    await expect(restoreBackup(place.plan({ runtime }))).rejects.toMatchObject({ code: 'CHILD_FAILED' })
    expect(tasksIn(place.file)).toEqual(['backed up', 'newer'])
  })

  test('that is killed between its swap and its answer has swapped, and the verb says so', async ({ place }) => {
    createTasks(place.file, ['backed up'])
    await createBackup(place.plan())
    addTask(place.file, 'newer')
    const jobs = new Map<string, ChildProcess>()
    const { runtime } = watched((child, job) => jobs.set(job, child), { hook: SILENT, SILENT_AFTER: place.file })
    const { undo } = await restoreBackup(place.plan({ runtime }))
    expect(jobs.get('swap')?.signalCode).toBe('SIGKILL')
    expect(tasksIn(place.file)).toEqual(['backed up'])
    await undoRestore(place.plan(), undo)
    expect(tasksIn(place.file)).toEqual(['backed up', 'newer'])
  })

  test('gets no options of the app’s own Node.js, and no path or name in its arguments', async ({ place }) => {
    createTasks(place.file, ['one'])
    const seen: { argv: string[]; environment: string[] }[] = []
    const { runtime } = watched((child) => {
      const read = (name: string): string[] =>
        readFileSync(`/proc/${child.pid}/${name}`, 'utf8').split('\0').filter(Boolean)
      seen.push({ argv: read('cmdline'), environment: read('environ') })
    })
    const before = process.env.NODE_OPTIONS
    process.env.NODE_OPTIONS = '--max-old-space-size=4000'
    try {
      const plan = place.plan({ runtime })
      await createBackup(plan)
      await restoreBackup(plan)
    } finally {
      if (before === undefined) delete process.env.NODE_OPTIONS
      else process.env.NODE_OPTIONS = before
    }
    expect(seen.length).toBeGreaterThanOrEqual(4) // image, openers, check and swap at least
    for (const { argv, environment } of seen) {
      expect(argv).toEqual([process.execPath, expect.stringMatching(/child\/main\.(ts|mjs)$/)])
      expect(environment.filter((line) => line.startsWith('NODE_OPTIONS='))).toEqual([])
    }
  })
})
