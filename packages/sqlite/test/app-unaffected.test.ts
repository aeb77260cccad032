import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import {
  createBackup,
  listBackups,
  type Runtime,
  restoreBackup,
  undoRestore,
  verifyBackup,
} from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import { randomFrom } from './support/ledger.ts'
import { type Place, test } from './support/place.ts'
import { startScript } from './support/processes.ts'
import { addTask, createTasks, tasksIn } from './support/tasks.ts'

/** Runs the library's children as usual, and shows them. */
function watched(onChild: (child: ChildProcess, job: string) => void = () => {}) {
  const children: ChildProcess[] = []
  const watch = (command: string, args: readonly string[], options: object): ChildProcess => {
    const child = spawn(command, args, options)
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
    const doneAtMs = once(app.stdout as NodeJS.ReadableStream, 'data').then(() => performance.now())
    const [code] = await once(app, 'exit')
    expect(code).toBe(0)
    // Any timer of ours that held it open would be longer.
    expect(performance.now() - (await doneAtMs)).toBeLessThan(4_500)
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
    for (const delayMs of [0, 60, 150]) {
      const { runtime } = watched((child) => setTimeout(() => child.kill('SIGKILL'), delayMs))
      const plan = place.plan({ runtime, compression: { algorithm: 'zstd', level: 19 } })
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

  test('that is killed in a swap has swapped or has not, and the verb says which', async ({ place }) => {
    createTasks(place.file, ['backed up'])
    await createBackup(place.plan())
    const outcomes = new Set<string>()
    for (
      let delayMs = 0;
      delayMs < 400 && !(outcomes.has('rejected') && outcomes.has('killed, resolved'));
      delayMs += 2
    ) {
      addTask(place.file, 'newer')
      const before = tasksIn(place.file)
      let killed = false
      const { runtime } = watched((child, job) => {
        if (job !== 'swap') return
        const inode = statSync(place.file).ino
        // As soon as the file is another one, and a little later each time: between the swap and its answer.
        const timer = setInterval(() => {
          if (outcomes.has('rejected') && statSync(place.file).ino === inode) return
          clearInterval(timer)
          killed = child.kill('SIGKILL')
        }, 0)
        child.once('exit', () => clearInterval(timer))
      })
      const plan = place.plan({ runtime })
      const result = await restoreBackup(plan).catch((error: { code: string }) => error.code)
      if (typeof result === 'string') {
        expect(result).toBe('CHILD_FAILED')
        expect(tasksIn(place.file)).toEqual(before)
        outcomes.add('rejected')
      } else {
        expect(tasksIn(place.file)).toEqual(['backed up'])
        outcomes.add(killed ? 'killed, resolved' : 'resolved')
        await undoRestore(place.plan(), result.undo)
        expect(tasksIn(place.file)).toEqual(before)
      }
    }
    expect(outcomes).toContain('rejected')
    expect(outcomes).toContain('killed, resolved')
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
      expect(argv).toEqual([process.execPath, expect.stringMatching(/child\/main\.ts$/)])
      expect(environment.filter((line) => line.startsWith('NODE_OPTIONS='))).toEqual([])
    }
  })
})
