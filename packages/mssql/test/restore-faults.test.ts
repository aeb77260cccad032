import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  BackupError,
  type RestoreBackupOptions,
  restoreBackup,
  type UndoRecord,
  undoRestore,
} from '@taskflow-backup/core'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { MssqlOptions } from '../src/index.ts'
import type { Fault, Moment } from './support/engine/faults.ts'
import { LIVE, type RestoreSite, restoreSite } from './support/restore-site.ts'

const CAUSE = { number: 50_000, message: 'Ordered by the test.', class: 16 }
const FAULTS: readonly (readonly [name: string, fault: Fault, at: Moment])[] = [
  ['an error instead', [CAUSE], 'before'],
  ['an error when it was done', [CAUSE], 'after'],
  ['a lost connection instead', 'drop', 'before'],
  ['a lost connection when it was done', 'drop', 'after'],
]

let site: RestoreSite
let round = 0

beforeEach(async () => {
  site = await restoreSite()
  site.insert('in the full')
  await site.backup('full')
  site.insert('in the log')
  await site.backup('log')
})
afterEach(() => site.destroy())

const RESTORED = [{ title: 'in the full' }, { title: 'in the log' }]

interface Tried {
  /** Statements that failed with the work. */
  readonly failed: string[]
  /** Statements that failed, and the work did not. */
  readonly survived: string[]
}

/** Does `work` again and again, each time with the next statement failing, until none is left. */
async function failEach(
  fault: Fault,
  at: Moment,
  {
    prepare,
    work,
    after,
  }: {
    readonly prepare?: () => Promise<void>
    readonly work: () => Promise<unknown>
    /** Rows of the live database when the work did not fail. */
    readonly after: () => readonly unknown[]
  },
): Promise<Tried> {
  const { server } = site
  const tried: Tried = { failed: [], survived: [] }
  for (let skip = 0; ; skip++) {
    await prepare?.()
    site.insert(`live ${++round}`)
    const before = { databases: site.databases(), rows: server.rows(LIVE), files: await site.files() }
    const statements = server.statements().length
    server.fail(/^/, fault, { skip, at })
    const outcome = await work().then(
      () => undefined,
      (error: unknown) => error,
    )
    const struck = server.engine.faults.pending === 0
    const statement = server.statements()[statements + skip] as string
    server.engine.faults.clear()
    await expect.poll(() => server.engine.sessions.locks, { message: statement }).toEqual([])
    expect(
      site.databases().filter((text) => !text.endsWith(': ONLINE, MULTI_USER')),
      statement,
    ).toEqual([])
    if (outcome !== undefined) {
      expect(outcome, statement).toBeInstanceOf(BackupError)
      if (fault === 'drop') expect(outcome, statement).toMatchObject({ code: 'SERVER_UNREACHABLE', retryable: true })
      else expect((outcome as Error).message, statement).toContain('50000: Ordered by the test.')
      expect(site.databases(), statement).toEqual(before.databases)
      expect(server.rows(LIVE), statement).toEqual(before.rows)
      expect(await site.files(), statement).toEqual(before.files)
    } else {
      expect(server.rows(LIVE), statement).toEqual(after())
      await forgetKept(before.files)
      if (!struck) return tried
    }
    tried[outcome === undefined ? 'survived' : 'failed'].push(statement)
  }
}

/** Removes what a restore keeps for its undo, and nothing else. */
async function forgetKept(files: readonly string[]): Promise<void> {
  const { databases } = site.server.engine
  for (const database of databases.all) if (/_before_/.test(database.name)) databases.remove(database)
  for (const name of await site.files()) {
    if (files.includes(name)) continue
    expect(name).toMatch(/^Task_Flow_s_taskflow_tail_/)
    await rm(join(site.folder, name))
  }
  expect(site.databases().filter((text) => !text.startsWith(`${LIVE}:`))).toEqual([])
}

const matching = (statements: readonly string[], pattern: RegExp): string[] =>
  statements.filter((statement) => pattern.test(statement))

describe.each(FAULTS)('fake SQL Server: %s of each statement in turn', (_, fault, at) => {
  test.each<[string, RestoreBackupOptions, Partial<MssqlOptions>]>([
    ['restore', {}, {}],
    ['restore over the database', { evenIfInUse: true }, { restore: { method: 'replace' } }],
  ])('%s leaves the old or the new database, and nothing else', async (_name, options, mssqlOptions) => {
    const { failed, survived } = await failEach(fault, at, {
      work: () => restoreBackup(site.plan(mssqlOptions), options),
      after: () => RESTORED,
    })
    expect(failed.length).toBeGreaterThan(10)
    for (const pattern of [/^RESTORE FILELISTONLY/, /^RESTORE DATABASE .* WITH MOVE/, /^RESTORE LOG/, /^DBCC CHECKDB/])
      expect(matching([...failed, ...survived], pattern), String(pattern)).not.toEqual([])
    expect(matching(survived, /^(RESTORE LOG .*_taskflow_restore_|DBCC)/)).toEqual([])
    expect(matching([...failed, ...survived], /SET SINGLE_USER|MODIFY NAME/).length).toBeGreaterThan(1)
  })

  test('undo leaves the old or the new database, and nothing else', async () => {
    let record: UndoRecord
    let kept: readonly unknown[] = []
    const { failed, survived } = await failEach(fault, at, {
      async prepare() {
        kept = site.server.rows(LIVE)
        record = (await restoreBackup(site.plan())).undo
      },
      work: async () => undoRestore(site.plan(), record),
      after: () => kept,
    })
    expect(matching([...failed, ...survived], /MODIFY NAME/).length).toBeGreaterThan(1)
    expect(failed.length).toBeGreaterThan(3)
  })
})
