import { readdirSync } from 'node:fs'
import { basename } from 'node:path'
import { createBackup, restoreBackup, undoRestore } from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import { type Place, test } from './support/place.ts'
import type { Agent } from './support/processes.ts'
import { addTask, createTasks, tasksIn } from './support/tasks.ts'

/** Another process with an open connection that has read and done nothing since. */
async function opener(place: Place, file = place.file): Promise<Agent> {
  const agent = await place.agent()
  await agent.run(({ Database, held }, file) => {
    held.a = new Database(file)
    held.a.prepare('SELECT count(*) FROM task').get()
  }, file)
  return agent
}

describe('a database that is open', () => {
  test.for(['wal', 'delete'] as const)(
    'in another process, idle, %s mode: refused with its id',
    async (journalMode, { place }) => {
      createTasks(place.file, ['one'], journalMode)
      const plan = place.plan()
      await createBackup(plan)
      addTask(place.file, 'two')
      const other = await opener(place)
      const before = readdirSync(place.app)
      const refused = {
        code: 'DATABASE_IN_USE',
        message: expect.stringContaining(`process ${other.pid} (${basename(process.execPath)}`),
      }
      await expect(restoreBackup(plan)).rejects.toMatchObject(refused)
      expect(readdirSync(place.app)).toEqual(before)
      expect(tasksIn(place.file)).toEqual(['one', 'two'])
      await other.kill()
      const { undo } = await restoreBackup(plan)
      const again = await opener(place)
      await expect(undoRestore(plan, undo)).rejects.toMatchObject({
        code: 'DATABASE_IN_USE',
        message: expect.stringContaining(String(again.pid)),
      })
      expect(tasksIn(place.file)).toEqual(['one'])
      expect(tasksIn(undo.kept as string)).toEqual(['one', 'two'])
    },
  )

  test('in this process: refused, and its connection still works', async ({ place }) => {
    createTasks(place.file, ['one'])
    const plan = place.plan()
    await createBackup(plan)
    const own = new Database(place.file)
    place.atEnd(() => own.close())
    own.exec("INSERT INTO task (title) VALUES ('two')")
    await expect(restoreBackup(plan)).rejects.toMatchObject({
      code: 'DATABASE_IN_USE',
      message: expect.stringContaining('this process'),
    })
    own.exec("INSERT INTO task (title) VALUES ('three')")
    expect(tasksIn(place.file)).toEqual(['one', 'two', 'three'])
  })

  test('opened after the first look, while the backup was being fetched: refused before the swap', async ({
    place,
  }) => {
    createTasks(place.file, ['one'])
    const plan = place.plan()
    await createBackup(plan)
    addTask(place.file, 'two')
    let other: Agent | undefined
    const late = async () => {
      other = await opener(place)
      return []
    }
    const restoring = restoreBackup(plan, { checks: [late] })
    await expect(restoring).rejects.toMatchObject({ code: 'DATABASE_IN_USE' })
    await other?.kill()
    expect(tasksIn(place.file)).toEqual(['one', 'two'])
    expect(readdirSync(place.app).filter((name) => name.includes('restor'))).toEqual([])
  })

  test('does not stand in the way of a restore to another place', async ({ place }) => {
    createTasks(place.file, ['one'])
    const plan = place.plan()
    await createBackup(plan)
    await opener(place)
    await restoreBackup(plan, { to: place.path('copy.db') })
    expect(tasksIn(place.path('copy.db'))).toEqual(['one'])
  })
})

describe('evenIfInUse', () => {
  test.for(['wal', 'delete'] as const)(
    'goes ahead, tells who has it open, and keeps what they write, %s mode',
    async (journalMode, { place }) => {
      createTasks(place.file, ['one'], journalMode)
      const plan = place.plan()
      await createBackup(plan)
      const other = await opener(place)
      await other.run(({ held }) => held.a?.exec("INSERT INTO task (title) VALUES ('two')"))
      const warnings: string[] = []
      const { undo } = await restoreBackup(plan, {
        evenIfInUse: true,
        onEvent: (event) => event.type === 'warning' && warnings.push(event.message),
      })
      expect(warnings).toEqual([expect.stringContaining(`Process ${other.pid}`)])
      expect(tasksIn(place.file)).toEqual(['one'])
      // What the old connection still does concerns the kept database alone.
      await other.run(({ held }) => {
        try {
          held.a?.exec("INSERT INTO task (title) VALUES ('three')")
        } catch {}
        held.a?.close()
      })
      await other.kill()
      addTask(place.file, 'new')
      expect(tasksIn(place.file)).toEqual(['one', 'new'])
      expect(tasksIn(undo.kept as string).slice(0, 2)).toEqual(['one', 'two'])
    },
  )

  test('over a database with a reader in the middle of a transaction: its log is kept with it', async ({ place }) => {
    createTasks(place.file, ['one'])
    const plan = place.plan()
    await createBackup(plan)
    const other = await opener(place)
    await other.run(({ Database, held }, file) => {
      held.a?.exec('BEGIN')
      held.a?.prepare('SELECT count(*) FROM task').get()
      held.b = new Database(file)
      held.b.exec("INSERT INTO task (title) VALUES ('only in the log')")
    }, place.file)
    const { undo } = await restoreBackup(plan, { evenIfInUse: true })
    expect(tasksIn(place.file)).toEqual(['one'])
    await other.kill()
    expect(tasksIn(place.file)).toEqual(['one'])
    const again = await undoRestore(plan, undo)
    expect(tasksIn(place.file)).toEqual(['one', 'only in the log'])
    expect(tasksIn(again.kept as string)).toEqual(['one'])
  })
})
