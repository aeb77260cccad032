import { createBackup, type Manifest, planRecovery, restoreBackup } from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import { type Place, test } from './support/place.ts'
import { tasksIn } from './support/tasks.ts'

/** Each commit is one task more than the one before. */
function startApp(place: Place) {
  const database = new Database(place.file)
  place.atEnd(() => database.close())
  database.pragma('journal_mode = WAL')
  database.exec('CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT)')
  return (count: number): void => {
    for (let i = 0; i < count; i++) database.exec("INSERT INTO task (title) VALUES ('a task')")
  }
}

describe('a commit can be named', () => {
  test('before, between and behind differentials', async ({ place }) => {
    const plan = place.plan()
    const make = async (kind: 'full' | 'differential' | 'log'): Promise<Manifest> =>
      (await createBackup(plan, { kind })).manifest
    const commit = startApp(place)
    await make('full')
    commit(1)
    const between = await make('differential') // of 1 commit, which no log has yet
    commit(2)
    await make('log') // of 3
    commit(1)
    await make('differential') // of 4
    commit(1)
    const last = await make('log') // of 5
    expect(last.source.details?.lastCommit).toBe(5)
    for (let stopAtCommit = 0; stopAtCommit <= 5; stopAtCommit++) {
      const to = { file: place.path(`commit-${stopAtCommit}.db`), stopAtCommit }
      await restoreBackup(plan, { ...(stopAtCommit === 4 && { id: last.id }), to })
      expect(tasksIn(to.file).length).toBe(stopAtCommit)
    }
    const kinds = async (stopAtCommit: number): Promise<string[]> => {
      const { backups } = await planRecovery(plan, { to: { file: 'a.db', stopAtCommit } })
      return backups.map(({ kind }) => kind)
    }
    expect(await kinds(1)).toEqual(['full', 'log'])
    expect(await kinds(5)).toEqual(['full', 'log', 'log'])
    const beyond = { to: { file: place.path('beyond.db'), stopAtCommit: 6 } }
    await expect(restoreBackup(plan, beyond)).rejects.toMatchObject({ code: 'POINT_UNREACHABLE' })
    const early = { id: between.id, to: { file: place.path('early.db'), stopAtCommit: 1 } }
    await expect(restoreBackup(plan, early)).rejects.toMatchObject({ code: 'POINT_UNREACHABLE' })
  })

  test('through a differential where the logs before it are gone', async ({ place }) => {
    const plan = place.plan()
    const commit = startApp(place)
    await createBackup(plan)
    commit(1)
    const lost = await createBackup(plan, { kind: 'log' })
    await createBackup(plan, { kind: 'differential' })
    commit(2)
    await createBackup(plan, { kind: 'log' })
    const [destination] = plan.destinations
    for await (const { key } of destination?.storage.list(`tasks/${lost.id}`) ?? [])
      await destination?.storage.delete(key)
    const to = (stopAtCommit: number) => ({ to: { file: place.path(`${stopAtCommit}.db`), stopAtCommit } })
    await restoreBackup(plan, to(2))
    expect(tasksIn(place.path('2.db')).length).toBe(2)
    await expect(restoreBackup(plan, to(1))).rejects.toMatchObject({ code: 'POINT_UNREACHABLE' })
  })
})
