import { type BackupError, createBackup, type JsonValue, planRecovery, restoreBackup } from '@taskflow-backup/core'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readDetails } from '../src/details.ts'
import type { MssqlRestoreTarget } from '../src/index.ts'
import { readTarget } from '../src/restore/stop-point.ts'
import { LIVE, type RestoreSite, restoreSite } from './support/restore-site.ts'

let site: RestoreSite
beforeEach(async () => {
  site = await restoreSite({ timeZoneOffsetMinutes: -210 })
})
afterEach(() => site.destroy())

const mark = (name: string, title = name): void => {
  site.server.clock.advance(10_000)
  site.server.mark(LIVE, name, { title })
}
const insert = (title: string): void => {
  site.server.clock.advance(10_000)
  site.insert(title)
}
const titles = (database: string): unknown[] =>
  site.server.rows(database).map((row) => (row as { title: string }).title)

let copies = 0
async function restored(stop: Record<string, JsonValue>, more: { readonly id?: string } = {}): Promise<unknown[]> {
  const database = `copy ${copies++}`
  await restoreBackup(site.plan(), { to: { database, ...stop }, ...more })
  return titles(database)
}
const failure = (stop: Record<string, JsonValue>): Promise<unknown> =>
  restored(stop).catch(({ code, message }: BackupError) => ({ code, message }))
const unreachable = (text: string) => ({ code: 'POINT_UNREACHABLE', message: expect.stringContaining(text) })

/** The server rounds times to a third of a hundredth of a second: not so soon that it could be that of the last mark. */
const now = (): string => {
  site.server.clock.advance(1000)
  return new Date(site.server.clock.utcMs).toISOString()
}
const restores = (): string[] => site.server.statements().filter((text) => /^RESTORE (LOG|DATABASE)/.test(text))
/** A full and three logs; the second one has the mark. */
async function makeChain(): Promise<void> {
  insert('first')
  await site.backup('full')
  insert('early')
  await site.backup('log')
  insert('just before')
  mark("it's [here]", 'marked')
  insert('just after')
  await site.backup('log')
  insert('late')
  await site.backup('log')
}

describe('fake SQL Server: a restore to a marked transaction', () => {
  test('ends with it or before it, in the log that its manifest names', async () => {
    await makeChain()
    const from = restores().length
    expect(await restored({ stopAtMark: "it's [here]" })).toEqual(['first', 'early', 'just before', 'marked'])
    const [, ...logs] = restores().slice(from)
    expect(logs.map((text) => text.includes("STOPATMARK = N'it''s [here]'"))).toEqual([false, true])
    expect(await restored({ stopAtMark: "it's [here]", before: true })).toEqual(['first', 'early', 'just before'])
    expect(await site.files()).toEqual([])
  })

  test('one that is not there is refused before anything is made, with those that are', async () => {
    await makeChain()
    const from = restores().length
    expect(await failure({ stopAtMark: "IT'S [here]" })).toEqual(unreachable(`They hold "it's [here]" of 2`))
    expect(await failure({ stopAtMark: "it's [here]", after: now() })).toEqual(unreachable('or later'))
    expect(restores()).toHaveLength(from)
    expect(site.databases()).toEqual([`${LIVE}: ONLINE, MULTI_USER`])
  })

  test('of several of one name, `after` says which', async () => {
    await site.backup('full')
    mark('nightly', '1')
    await site.backup('log')
    const second = now()
    mark('nightly', '2')
    const third = now()
    mark('nightly', '3')
    await site.backup('log')
    expect(await failure({ stopAtMark: 'nightly' })).toEqual(unreachable('more than one transaction'))
    expect(await restored({ stopAtMark: 'nightly', after: second })).toEqual(['1', '2'])
    expect(await restored({ stopAtMark: 'nightly', after: third })).toEqual(['1', '2', '3'])
    expect(await restored({ stopAtMark: 'nightly', after: third, before: true })).toEqual(['1', '2'])
  })

  test('in an older chain is found by the id of its log', async () => {
    await site.backup('full')
    mark('release')
    insert('after')
    const { id } = await createBackup(site.plan(), { kind: 'log' })
    await site.backup('full')
    await site.backup('log')
    expect(await failure({ stopAtMark: 'release' })).toEqual(unreachable('hold no marks'))
    expect(await restored({ stopAtMark: 'release' }, { id })).toEqual(['release'])
  })

  test('is looked for by the server where a manifest does not tell its marks', async () => {
    await site.backup('full')
    insert('early')
    site.server.fail(/logmarkhistory/, [{ number: 229, message: 'Denied.', class: 14 }], { times: 2 })
    await site.backup('log')
    mark('release')
    insert('after')
    await site.backup('log')
    const { backups } = await planRecovery(site.plan())
    expect(backups.map((manifest) => readDetails(manifest).marks)).toEqual([undefined, undefined, undefined])
    expect(backups.at(-1)?.notes.join()).toContain('did not tell its marked transactions')
    expect(await restored({ stopAtMark: 'release' })).toEqual(['early', 'release'])
    expect(await failure({ stopAtMark: 'none' })).toEqual(unreachable('The server did not find the mark "none"'))
    expect(site.databases().filter((text) => text.includes('RESTORING'))).toEqual([])
    expect(site.databases().filter((text) => text.includes('_taskflow_'))).toEqual([])
  })

  test('that msdb places in an earlier log is found in the one that has it', async () => {
    await makeChain()
    // As after a restore: msdb keeps the marks of a past that was left, whose numbers are used again.
    const { marks, entries } = site.server.engine.history
    const [only] = marks.splice(0)
    if (!only) throw new Error('there is no mark')
    const lsn = entries.at(-1)?.header.firstLsn ?? 0n
    marks.push({ ...only, mark: 'last', lsn })
    insert('between')
    await site.backup('log')
    mark('last')
    await site.backup('log')
    const details = (await planRecovery(site.plan())).backups.map((manifest) => readDetails(manifest).marks ?? [])
    expect(details.flat().map(({ name }) => name)).toEqual(["it's [here]", 'last'])
    expect((await restored({ stopAtMark: 'last' })).slice(-2)).toEqual(['between', 'last'])
  })

  test('also over the live database, in place', async () => {
    await makeChain()
    const plan = site.plan({ restore: { method: 'replace' } })
    const to: MssqlRestoreTarget = { database: LIVE, stopAtMark: "it's [here]" }
    await restoreBackup(plan, { to, overwrite: true })
    expect(titles(LIVE)).toEqual(['first', 'early', 'just before', 'marked'])
    expect(site.databases()).toEqual([`${LIVE}: ONLINE, MULTI_USER`])
  })
})

describe('fake SQL Server: a restore to a log sequence number', () => {
  test('ends with that log record or before it', async () => {
    await makeChain()
    const [{ lsn = 0n } = {}] = site.server.engine.history.marks
    expect(await restored({ stopAtLsn: String(lsn) })).toEqual(['first', 'early', 'just before', 'marked'])
    expect(await restored({ stopAtLsn: String(lsn), before: true })).toEqual(['first', 'early', 'just before'])
  })

  test('outside of the logs is refused before anything is made', async () => {
    await makeChain()
    const from = restores().length
    expect(await failure({ stopAtLsn: '1' })).toEqual(unreachable('with which the restore begins'))
    expect(await failure({ stopAtLsn: '9'.repeat(25) })).toEqual(unreachable('is after the last backup'))
    expect(restores()).toHaveLength(from)
  })
})

test.each<[JsonValue, Date | undefined, string]>([
  [{ database: 'd', stopAtMark: 'a', stopAtLsn: '1' }, undefined, 'exclude each other'],
  [{ database: 'd', stopAtMark: 'a' }, new Date(), 'exclude each other'],
  [{ database: 'd', stopAtMark: '' }, undefined, '`to.stopAtMark`'],
  [{ database: 'd', stopAtMark: 'lsn:12' }, undefined, '`to.stopAtMark`'],
  [{ database: 'd', stopAtLsn: '0x12' }, undefined, '`to.stopAtLsn`'],
  [{ database: 'd', stopAtLsn: 12 }, undefined, '`to.stopAtLsn`'],
  [{ database: 'd', stopAtMark: 'a', after: '2026-11-22T14:03:11' }, undefined, '`to.after`'],
  [{ database: 'd', after: '2026-11-22T14:03:11Z' }, undefined, '`to.after`'],
  [{ database: 'd', before: true }, undefined, '`to.before`'],
  [{ database: 'd', stopAtMark: 'a', before: 'yes' }, undefined, '`to.before`'],
  [{ database: 'd', mark: 'a' }, undefined, '`to.mark`'],
])('%j is no target', (to, at, text) => {
  expect(() => readTarget(to, at)).toThrow(
    expect.objectContaining({ code: 'TARGET_INVALID', message: expect.stringContaining(text) }),
  )
})
