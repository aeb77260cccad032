import { existsSync, linkSync, mkdirSync, readdirSync, renameSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createBackup, ownIdentity, type ProcessIdentity, pruneBackups, restoreBackup } from '@taskflow-backup/core'
import { describe, expect } from 'vitest'
import { type Place, test } from './support/place.ts'
import { createTasks, tasksIn } from './support/tasks.ts'

const DEAD: ProcessIdentity = { host: '', pid: 2 ** 22 + 1 }

/** A folder with a file in it, as a process that was killed leaves it. */
async function leave(path: string, owner?: 'own' | 'dead' | 'elsewhere', ageHours = 0): Promise<void> {
  mkdirSync(path)
  writeFileSync(join(path, 'half.db'), 'half')
  const own = await ownIdentity()
  const owners = { own, dead: { ...own, pid: DEAD.pid }, elsewhere: { ...own, realm: 'another boot' } }
  if (owner) writeFileSync(join(path, 'owner.json'), JSON.stringify(owners[owner]))
  const at = new Date(Date.now() - ageHours * 3_600_000)
  for (const name of readdirSync(path)) utimesSync(join(path, name), at, at)
  utimesSync(path, at, at)
}

async function prune(place: Place) {
  const warnings: string[] = []
  const { restoreLeftovers } = await pruneBackups(place.plan(), {
    onEvent: (event) => event.type === 'warning' && warnings.push(event.message),
  })
  return { removed: [...restoreLeftovers].sort(), warnings }
}

describe('a prune removes', () => {
  test('staging folders and temporary copies of processes that have ended, and those only', async ({ place }) => {
    createTasks(place.file, ['one'])
    const places = [
      join(place.app, '.tasks.db.restoring-'),
      join(place.temporary, 'taskflow-backup-scratch-'),
      join(place.temporary, 'taskflow-backup-copy-'),
    ]
    for (const prefix of places) {
      await leave(`${prefix}dead`, 'dead')
      await leave(`${prefix}old-ownerless`, undefined, 1)
      await leave(`${prefix}long-gone-boot`, 'elsewhere', 25)
      await leave(`${prefix}own`, 'own', 25)
      await leave(`${prefix}young-ownerless`)
      await leave(`${prefix}other-boot`, 'elsewhere', 1)
    }
    await leave(join(place.app, '.other.db.restoring-dead'), 'dead')
    await leave(join(place.temporary, 'somebody-elses'), 'dead', 25)
    const { removed, warnings } = await prune(place)
    const expected = places.flatMap((prefix) =>
      ['dead', 'old-ownerless', 'long-gone-boot'].map((name) => prefix + name),
    )
    expect(removed).toEqual(expected.sort())
    expect(warnings).toEqual([])
    for (const path of expected) expect(existsSync(path)).toBe(false)
    for (const prefix of places) {
      for (const name of ['own', 'young-ownerless', 'other-boot']) expect(existsSync(prefix + name)).toBe(true)
    }
    expect(existsSync(join(place.app, '.other.db.restoring-dead'))).toBe(true)
  })

  test('a second name of the live database, and an empty folder, but never a database that was kept', async ({
    place,
  }) => {
    createTasks(place.file, ['live'])
    const kept = (name: string): string => `${place.file}.before-restore-20261122T000000-${name}`
    for (const name of ['link', 'empt', 'kept']) mkdirSync(kept(name))
    linkSync(place.file, join(kept('link'), 'tasks.db'))
    createTasks(join(kept('kept'), 'tasks.db'), ['before'])
    const { removed } = await prune(place)
    expect(removed).toEqual([kept('empt'), kept('link')])
    expect(tasksIn(place.file)).toEqual(['live'])
    expect(tasksIn(join(kept('kept'), 'tasks.db'))).toEqual(['before'])
  })

  test('not the only log of the live database: a restore was killed after it took it away, before the swap', async ({
    place,
  }) => {
    const app = await place.agent()
    await app.run(({ Database, held }, file) => {
      held.a = new Database(file)
      held.a.pragma('journal_mode = wal')
      held.a.exec(
        "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT); INSERT INTO task (title) VALUES ('in the log')",
      )
    }, place.file)
    await app.kill()
    const folder = `${place.file}.before-restore-20261122T000000-kill`
    mkdirSync(folder)
    linkSync(place.file, join(folder, 'tasks.db'))
    linkSync(`${place.file}-wal`, join(folder, 'tasks.db-wal'))
    // Before the log is gone, everything there is a second name only.
    const whole = `${place.file}.before-restore-20261122T000000-whol`
    mkdirSync(whole)
    linkSync(place.file, join(whole, 'tasks.db'))
    linkSync(`${place.file}-wal`, join(whole, 'tasks.db-wal'))
    renameSync(`${place.file}-wal`, place.path('aside'))
    const first = await prune(place)
    expect(first.removed).toEqual([])
    expect(first.warnings).toEqual([expect.stringContaining('Keep it'), expect.stringContaining('Keep it')])
    renameSync(place.path('aside'), `${place.file}-wal`)
    expect((await prune(place)).removed).toEqual([folder, whole])
    expect(tasksIn(place.file)).toEqual(['in the log'])
  })

  test('nothing in a dry run', async ({ place }) => {
    createTasks(place.file, ['one'])
    await leave(join(place.app, '.tasks.db.restoring-dead'), 'dead')
    expect((await pruneBackups(place.plan(), { dryRun: true })).restoreLeftovers).toEqual([])
    expect(existsSync(join(place.app, '.tasks.db.restoring-dead'))).toBe(true)
  })
})

test('a restore to another place removes what a killed one left there', async ({ place }) => {
  createTasks(place.file, ['one'])
  const plan = place.plan()
  await createBackup(plan)
  const folder = place.path('elsewhere')
  mkdirSync(folder)
  await leave(join(folder, '.copy.db.restoring-dead'), 'dead')
  await leave(join(folder, '.copy.db.restoring-own'), 'own')
  await restoreBackup(plan, { to: join(folder, 'copy.db') })
  expect(readdirSync(folder).sort()).toEqual(['.copy.db.restoring-own', 'copy.db'])
  expect(tasksIn(join(folder, 'copy.db'))).toEqual(tasksIn(place.file))
})
