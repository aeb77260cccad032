import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  createBackup,
  memory,
  pruneBackups,
  type Runtime,
  restoreBackup,
  type UndoRecord,
  undoRestore,
} from '@taskflow-backup/core'
import { describe, expect, vi } from 'vitest'
import { type Place, test } from './support/place.ts'
import { createTasks, tasksIn } from './support/tasks.ts'

vi.setConfig({ testTimeout: 900_000 }) // dozens of restores, one after another

const HOOK = fileURLToPath(new URL('support/crash-hook.ts', import.meta.url))
const OLD = ['one', 'in the log only']

/** Ends the child that swaps just before the `call`-th change that it makes to the file system. */
function crashing(call: number) {
  let crashed = false
  const start = (command: string, args: readonly string[], options: { env?: NodeJS.ProcessEnv }): ChildProcess => {
    const env = { ...options.env, CRASH_BEFORE_CALL: String(call) }
    const child = spawn(command, ['--import', HOOK, ...args], { ...options, env })
    let swaps = false
    const send = child.send.bind(child) as (message: object, sent: () => void) => boolean
    child.send = ((message: { job: string }, sent: () => void) => {
      swaps = message.job === 'swap'
      return send(message, sent)
    }) as ChildProcess['send']
    let answered = false
    child.on('message', () => {
      answered = true
    })
    child.once('exit', () => {
      crashed ||= swaps && !answered
    })
    return child
  }
  return { runtime: { spawn: start as Runtime['spawn'] }, crashed: () => crashed }
}

/** Leaves the live database as a crashed app does: one row in the file, one in its log. */
async function makeLive(place: Place): Promise<void> {
  for (const name of readdirSync(place.app)) rmSync(join(place.app, name), { recursive: true })
  createTasks(place.file, ['one'])
  const app = await place.agent()
  await app.run(({ Database, held }, file) => {
    held.a = new Database(file)
    held.a.exec("INSERT INTO task (title) VALUES ('in the log only')")
  }, place.file)
  await app.kill()
}

function refuseOther(error: { code: string }): undefined {
  expect(error).toMatchObject({ code: 'CHILD_FAILED' })
}

/** Only the live database, the ones in `kept`, and what SQLite leaves. */
async function expectTidy(place: Place, plan: Parameters<typeof pruneBackups>[0], kept: string[][]): Promise<void> {
  await pruneBackups(plan)
  const others = readdirSync(place.app).filter((name) => !/^tasks\.db(-wal|-shm)?$/.test(name))
  expect(others.map((name) => tasksIn(join(place.app, name, basename(place.file)))).sort()).toEqual(kept)
}

describe('the swap is ended before each of its steps', () => {
  test('of a restore over the live database', async ({ place }) => {
    createTasks(place.file, ['backed up'])
    const plain = place.plan({ destinations: [memory()] })
    await createBackup(plain)
    const rejectedAt: number[] = []
    for (let call = 1; ; call++) {
      await makeLive(place)
      const { runtime, crashed } = crashing(call)
      const plan = { ...plain, runtime: { ...plain.runtime, ...runtime } }
      const undo = await restoreBackup(plan).then((result) => result.undo, refuseOther)
      if (!crashed()) break
      // The verb tells the truth, and the database is one of the two, whole.
      if (undo) {
        expect(tasksIn(place.file)).toEqual(['backed up'])
        expect(tasksIn(undo.kept as string)).toEqual(OLD)
        await expectTidy(place, plain, [OLD])
      } else {
        rejectedAt.push(call)
        await expectTidy(place, plain, [])
        expect(tasksIn(place.file)).toEqual(OLD)
      }
    }
    expect(rejectedAt.length).toBeGreaterThan(4)
  })

  test('of an undo', async ({ place }) => {
    const plain = place.plan({ destinations: [memory()] })
    const kept = `${place.file}.before-restore-20261122T000000-kept/tasks.db`
    const record: UndoRecord = { engine: 'sqlite', target: place.file, kept, promotedAt: new Date().toISOString() }
    let rejected = 0
    for (let call = 1; ; call++) {
      await makeLive(place)
      mkdirSync(dirname(kept))
      createTasks(kept, ['kept'])
      const { runtime, crashed } = crashing(call)
      const plan = { ...plain, runtime: { ...plain.runtime, ...runtime } }
      const undone = await undoRestore(plan, record).catch(refuseOther)
      if (!crashed()) break
      if (!undone) rejected++
      await expectTidy(place, plain, [undone ? OLD : ['kept']])
      expect(tasksIn(place.file)).toEqual(undone ? ['kept'] : OLD)
    }
    expect(rejected).toBeGreaterThan(4)
  })

  test('of a restore where nothing was, but the log of a database that is gone', async ({ place }) => {
    createTasks(place.file, ['backed up'])
    const plain = place.plan({ destinations: [memory()] })
    await createBackup(plain)
    for (let call = 1; ; call++) {
      await makeLive(place)
      rmSync(place.file)
      const { runtime, crashed } = crashing(call)
      const plan = { ...plain, runtime: { ...plain.runtime, ...runtime } }
      const restored = await restoreBackup(plan).then(
        () => true,
        () => false,
      )
      if (!crashed()) break
      expect(existsSync(place.file)).toBe(restored)
      if (restored) expect(tasksIn(place.file)).toEqual(['backed up'])
    }
  })
})
