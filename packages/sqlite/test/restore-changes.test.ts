import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import {
  type BackupAdapter,
  type BackupFacts,
  createBackup,
  followLog,
  type JsonValue,
  type Member,
  type RestoreRequest,
  restoreBackup,
  type StagedRestore,
} from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import { sqlite } from '../src/index.ts'
import { cutIntoLogs, encodeDifferential, type History, START } from './support/history.ts'
import { bytesOf, hashesOf, type MadeBackup, madeDifferential, madeFull, madeLog } from './support/made-backups.ts'
import { type Place, test } from './support/place.ts'
import { recordDatabase, tasksAfter } from './support/real-history.ts'
import { tasksIn } from './support/tasks.ts'

const COMMITS = 12

interface Made {
  readonly history: History
  readonly full: MadeBackup
  readonly logs: readonly MadeBackup[]
}

/** A full and three logs, in steps of two commits. */
async function makeBackups(place: Place): Promise<Made> {
  const history = recordDatabase(place.path('recorded.db'), COMMITS, 2)
  const full = await madeFull(history.states[0] as Buffer)
  const logs = await Promise.all(cutIntoLogs(history.steps, [2, 4]).map((steps, i) => madeLog(i, steps)))
  return { history, full, logs }
}

async function stage(
  place: Place,
  backups: readonly MadeBackup[],
  request: Partial<RestoreRequest> = {},
): Promise<StagedRestore> {
  const staged = await sqlite({ file: place.file }).restore(
    { backups, target: { kind: 'scratch' }, evenIfInUse: false, ...request },
    place.context(),
  )
  place.atEnd(() => staged.discard())
  return staged
}

const toPlace = (to: JsonValue) => ({ target: { kind: 'place' as const, to, overwrite: false } })
const commitAt = ({ location }: StagedRestore, { states }: History): number => {
  const bytes = readFileSync(location)
  return states.findIndex((state) => state.equals(bytes))
}

describe('a restore through changes', () => {
  test('puts the database together and checks it as a whole', async ({ place }) => {
    const { full, logs } = await makeBackups(place)
    const staged = await stage(place, [full, ...logs], toPlace(place.path('copy.db')))
    expect(
      (await staged.check(place.context())).map(({ check, severity, message }) => [check, severity, message]),
    ).toEqual([
      ['page-hashes', 'ok', `Every page is as it was after commit ${COMMITS} of its chain.`],
      ['integrity_check', 'ok', expect.any(String)],
      ['foreign_key_check', 'ok', expect.any(String)],
    ])
    await staged.promote(place.context())
    const database = new Database(place.path('copy.db'))
    expect(database.prepare('SELECT count(*) FROM task').pluck().get()).toBe(tasksAfter(COMMITS))
    database.close()
    expect(readdirSync(place.temporary)).toEqual([])
  })

  test('stops at a moment', async ({ place }) => {
    const { history, full, logs } = await makeBackups(place)
    const staged = await stage(place, [full, ...logs], { at: new Date(START + 3_999) })
    expect(commitAt(staged, history)).toBe(6)
  })

  test('stops at a commit, in the middle of what one look captured', async ({ place }) => {
    const { history, full, logs } = await makeBackups(place)
    for (const stopAtCommit of [0, 7]) {
      const target = toPlace({ file: place.path('copy.db'), stopAtCommit })
      const staged = await stage(place, [full, ...logs], target)
      expect(commitAt(staged, history)).toBe(stopAtCommit)
      const [first] = await staged.check(place.context())
      expect(first?.message).toBe(`Every page is as it was after commit ${stopAtCommit} of its chain.`)
      await staged.discard()
    }
    const beyond = stage(place, [full, ...logs], toPlace({ file: place.path('copy.db'), stopAtCommit: 13 }))
    await expect(beyond).rejects.toMatchObject({
      code: 'POINT_UNREACHABLE',
      message: expect.stringContaining('end with commit 12'),
    })
    expect(readdirSync(place.folder).filter((name) => name.includes('copy.db'))).toEqual([])
  })

  test('goes over a differential that was made between two looks', async ({ place }) => {
    const { history, full, logs } = await makeBackups(place)
    const { states } = history
    const plain = encodeDifferential(states[0] as Buffer, states[5] as Buffer, START + 2_500, 4)
    const differential = await madeDifferential(plain, 4)
    expect(commitAt(await stage(place, [full, differential]), history)).toBe(5)
    expect(commitAt(await stage(place, [full, differential, ...logs.slice(1)]), history)).toBe(COMMITS)
    const early = await stage(place, [full, differential, ...logs.slice(1)], { at: new Date(START + 2_700) })
    expect(commitAt(early, history)).toBe(5)
  })

  test('does without a differential that leads past the commit that is wanted', async ({ place }) => {
    const app = new Database(place.file)
    app.pragma('journal_mode = wal')
    app.exec('CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT)')
    const plan = place.plan()
    await createBackup(plan)
    const add = app.prepare('INSERT INTO task (title) VALUES (?)')
    const following = await followLog(plan, { everyMs: 60_000, merge: false }) // looks at the flush
    add.run('first')
    add.run('second')
    await createBackup(plan, { kind: 'differential' })
    add.run('third')
    await following.flush()
    await following.stop()
    app.close()
    for (const stopAtCommit of [1, 2, 3]) {
      const file = place.path(`${stopAtCommit}.db`)
      const { recovery } = await restoreBackup(plan, { to: { file, stopAtCommit } })
      expect(recovery.backups.map(({ kind }) => kind)).toEqual(['full', 'log'])
      expect(tasksIn(file)).toHaveLength(stopAtCommit)
    }
  })

  test('finds what happened to the file after it was written', async ({ place }) => {
    const { full, logs } = await makeBackups(place)
    const staged = await stage(place, [full, ...logs])
    const bytes = readFileSync(staged.location)
    const at = bytes.indexOf('of commit 3')
    bytes.write('of commit 4', at)
    writeFileSync(staged.location, bytes)
    const findings = await staged.check(place.context())
    expect(findings[0]).toMatchObject({ check: 'page-hashes', severity: 'error' })
    expect(findings[1]).toMatchObject({ check: 'integrity_check', severity: 'ok' }) // which is why it is not enough
  })

  test('refuses targets that are none', async ({ place }) => {
    const { full } = await makeBackups(place)
    const file = place.path('copy.db')
    const targets = [
      { file, stopAtCommit: -1 },
      { file, stopAtCommit: 1.5 },
      { file, stopAtCommit: '7' },
      { file, stopAt: 7 },
      { stopAtCommit: 7 },
      [file],
    ]
    for (const to of targets)
      await expect(stage(place, [full], toPlace(to))).rejects.toMatchObject({ code: 'TARGET_INVALID' })
    expect(existsSync(file)).toBe(false)
  })
})

describe('a damaged log', () => {
  test('does not make earlier moments unreachable', async ({ place }) => {
    const { history, full, logs } = await makeBackups(place)
    const [first, , third] = logs as [MadeBackup, MadeBackup, MadeBackup]
    // Compressed, a frame of 2 MiB is damaged as a whole.
    const second = await madeLog(1, history.steps.slice(2, 4), { algorithm: 'none', level: 0 })
    const bytes = second.stored.get('tasks.changes') as Buffer
    // Its end, behind the pages of the first of its two steps.
    second.stored.set('tasks.changes', Buffer.concat([bytes.subarray(0, -9), Buffer.alloc(9, 0x5a)]))
    expect(commitAt(await stage(place, [full, first, second], { at: new Date(START + 2_999) }), history)).toBe(4)
    await expect(stage(place, [full, first, second, third])).rejects.toMatchObject({
      code: 'MEMBER_DAMAGED',
      message: expect.stringContaining('tasks.changes'),
    })
    expect(readdirSync(place.temporary).filter((name) => name.includes('scratch')).length).toBe(1) // of the first
  })

  test('behind the moment may be gone', async ({ place }) => {
    const history = recordDatabase(place.path('recorded.db'), COMMITS, 2)
    const full = await madeFull(history.states[0] as Buffer)
    const [log, gone] = await Promise.all(cutIntoLogs(history.steps, [4]).map((steps, i) => madeLog(i, steps)))
    ;(gone as MadeBackup).stored.set('tasks.changes', undefined)
    const backups = [full, log as MadeBackup, gone as MadeBackup]
    expect(commitAt(await stage(place, backups, { at: new Date(START + 3_000) }), history)).toBe(6)
    await expect(stage(place, backups)).rejects.toMatchObject({ code: 'OBJECT_MISSING' })
  })
})

describe('a check of a backup', () => {
  test('holds the page hashes beside a full against its pages; a restore does without them', async ({ place }) => {
    const history = recordDatabase(place.path('recorded.db'), 2, 1)
    const image = history.states[2] as Buffer
    const other = Buffer.from(image)
    other[image.length - 1] = 1
    const full = await madeFull(image, hashesOf(other))
    await expect(stage(place, [full])).rejects.toMatchObject({
      code: 'MEMBER_DAMAGED',
      message: expect.stringContaining('pagehashes'),
    })
    expect(commitAt(await stage(place, [full], toPlace(place.path('copy.db'))), history)).toBe(2)
    expect(commitAt(await stage(place, [await madeFull(image)]), history)).toBe(2)
  })
})

describe('merging', () => {
  test('makes one log that is restored like those it was made of, and leaves no file', async ({ place }) => {
    const { history, full, logs } = await makeBackups(place)
    const request = {
      kind: 'log' as const,
      id: 'chain/merged-log',
      startedAt: new Date(),
      fileStem: 'merged',
      compression: { algorithm: 'zstd', level: 3 } as const,
    }
    const members = mergeWith(place)(logs, request, place.context())
    const member = (await members.next()).value as Member
    const stored = await bytesOf(member.body)
    const facts = (await members.next()).value as BackupFacts
    expect(facts).toMatchObject({
      method: 'merged',
      position: { begin: logs[0]?.manifest.position.begin, end: logs[2]?.manifest.position.end },
      consistentAt: new Date(START + 6_000),
      source: { details: { pageSize: 512, tables: 1, firstCommit: 1, lastCommit: COMMITS, steps: 6 } },
      resolutionMs: 1_000,
    })
    expect(readdirSync(place.temporary)).toEqual([])
    const merged = await madeLog(9, history.steps)
    expect(member.encoded?.plain()).toEqual(merged.manifest.members[0]?.plain)
    expect(member.encoded?.stored?.()).toEqual(merged.manifest.members[0]?.stored)
    expect(stored.equals(merged.stored.get('tasks.changes') as Buffer)).toBe(true)
    const staged = await stage(place, [full, merged], { at: new Date(START + 3_000) })
    expect(commitAt(staged, history)).toBe(6)
  })
})

function mergeWith(place: Place): NonNullable<BackupAdapter['merge']> {
  const { merge } = sqlite({ file: place.file })
  if (!merge) throw new Error('The adapter cannot merge.')
  return merge
}
