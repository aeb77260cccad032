import { execFileSync, spawnSync } from 'node:child_process'
import { describe, expect } from 'vitest'
import type { AgentTools } from './support/agent.ts'
import { locksOf } from './support/kernel-locks.ts'
import { type Place, test } from './support/place.ts'
import { createTasks, tasksIn } from './support/tasks.ts'

// POSIX drops all locks that a process holds on a file when it closes any descriptor of it. An app that opens its own
// database file beside SQLite loses rows that way: another process takes itself for the last one, and removes the log.

type Step = (tools: AgentTools, input: { file: string; backups: string; temporaryDirectory: string }) => unknown

/** What the app does between the two looks at its locks. */
const VERBS: Step = async ({ library }, { file, backups, temporaryDirectory }) => {
  const {
    createBackup,
    defineBackupPlan,
    directory,
    listBackups,
    planRecovery,
    pruneBackups,
    restoreBackup,
    sqlite,
    verifyBackup,
  } = await library()
  for (const image of ['auto', 'online-backup'] as const) {
    const adapter = sqlite({ file, image })
    const plan = defineBackupPlan({ name: 'tasks', adapter, destinations: [directory(backups)], temporaryDirectory })
    const context = { ...plan.runtime, signal: new AbortController().signal, onProgress: () => {}, onWarning: () => {} }
    await createBackup(plan)
    await createBackup(plan, { kind: 'log' })
    await createBackup(plan, { kind: 'differential' })
    await createBackup(plan)
    await listBackups(plan)
    await planRecovery(plan)
    for (const level of ['stored', 'decoded', 'restored'] as const) await verifyBackup(plan, { level })
    await adapter.describe(context)
    await pruneBackups(plan)
    await restoreBackup(plan, { to: `${backups}/${image}.db` })
    const refused = await restoreBackup(plan).catch((error) => error.code)
    if (refused !== 'DATABASE_IN_USE') throw new Error(`The restore over the open database was not refused: ${refused}`)
  }
}

/** The trap itself: what every one of the verbs must not do. */
const TRAP: Step = ({ fs }, { file }) => fs.closeSync(fs.openSync(file, 'r'))

/** The app writes, takes `step`, another process writes and closes, the app writes on. */
async function scenario(place: Place, step: Step) {
  createTasks(place.file, ['before'])
  const app = await place.agent()
  await app.run(({ Database, held }, file) => {
    held.writer = new Database(file)
    held.writer.exec("INSERT INTO task (title) VALUES ('by the app')")
    held.reader = new Database(file, { readonly: true })
    held.reader.exec('BEGIN')
    held.reader.prepare('SELECT count(*) FROM task').get()
  }, place.file)
  const before = locksOf(app, place.file)
  await app.run(step, { file: place.file, backups: place.backups, temporaryDirectory: place.temporary })
  const after = locksOf(app, place.file)
  // Not the same version of SQLite on purpose: newer ones look twice before they remove a log.
  execFileSync('sqlite3', [place.file, "INSERT INTO task (title) VALUES ('by another')"])
  await app
    .run(({ held }) => {
      held.reader?.exec('ROLLBACK')
      for (let i = 0; i < 50; i++) held.writer?.exec(`INSERT INTO task (title) VALUES ('later ${i}')`)
    })
    .catch(() => 'the app cannot write any more')
  await app.kill() // no orderly end: what counts is what others can see
  let rows: number
  try {
    rows = tasksIn(place.file).length
  } catch {
    rows = -1
  }
  return { before, after, rows }
}

const ALL_ROWS = 1 + 1 + 1 + 50
const whyNot =
  process.platform !== 'linux' ? 'no /proc/locks here' : spawnSync('sqlite3', ['--version']).error && 'no sqlite3 here'

describe('the app’s own connections', () => {
  test('keep their locks and their rows through every verb', async ({ place, skip }) => {
    skip(whyNot !== undefined, whyNot)
    const { before, after, rows } = await scenario(place, VERBS)
    expect(before.length).toBeGreaterThan(0)
    expect(after).toEqual(before)
    expect(rows).toBe(ALL_ROWS)
  })

  test('the control: opening and closing the file in the app loses both', async ({ place, skip }) => {
    skip(whyNot !== undefined, whyNot)
    const { before, after, rows } = await scenario(place, TRAP)
    expect(before.length).toBeGreaterThan(0)
    expect(after.length).toBeLessThan(before.length)
    expect(rows).toBeLessThan(ALL_ROWS)
  })
})
