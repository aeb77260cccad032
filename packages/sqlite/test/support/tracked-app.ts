import type { Step } from '../../src/changes/format.ts'
import type { Place } from './place.ts'
import type { Agent } from './processes.ts'

// An app whose log a test tracks, and what the steps tell of it.

/** An app in another process, with a connection that writes. */
export async function startApp(place: Place, { pageSize = 1024, autocheckpoint = 0 } = {}): Promise<Agent> {
  const app = await place.agent()
  await app.run(
    ({ Database, held }, { file, pageSize, autocheckpoint }) => {
      held.app = new Database(file)
      held.app.pragma(`page_size = ${pageSize}`)
      held.app.pragma('journal_mode = wal')
      held.app.pragma(`wal_autocheckpoint = ${autocheckpoint}`)
      held.app.exec('CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v BLOB)')
      for (let i = 0; i < 50; i++) held.app.exec('INSERT INTO t (v) VALUES (randomblob(1500))')
    },
    { file: place.file, pageSize, autocheckpoint },
  )
  return app
}

export const exec = (app: Agent, sql: string): Promise<void> =>
  app.run(({ held }, sql) => {
    for (const one of sql.split(';')) held.app?.exec(one)
  }, sql)

export const write = (app: Agent, rows = 3): Promise<void> =>
  exec(app, 'INSERT INTO t (v) VALUES (randomblob(900));'.repeat(rows))

/** By a connection of another process. */
export const checkpoint = (app: Agent, place: Place, mode: string): Promise<{ busy: number }> =>
  app.run(
    ({ Database, held }, { file, mode }) => {
      held.other ??= new Database(file, { timeout: 0 })
      return (held.other.pragma(`wal_checkpoint(${mode})`) as { busy: number }[])[0] as { busy: number }
    },
    { file: place.file, mode },
  )

export const hows = (steps: readonly Step[]): string[] =>
  steps.flatMap(({ how, commits }) => (commits.length > 0 ? [how] : []))
export const commitsOf = (steps: readonly Step[]): number => steps.reduce((sum, { commits }) => sum + commits.length, 0)
