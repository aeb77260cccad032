import { execFile, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import Database from 'better-sqlite3'
import { beforeEach, describe, expect } from 'vitest'
import { cutIntoLogs, encodeChanges, encodeDifferential, type History, START } from './support/history.ts'
import { integrityOf } from './support/images.ts'
import { type Place, test } from './support/place.ts'
import { recordDatabase, tasksAfter } from './support/real-history.ts'

// docs/restore-sqlite-changes.py reads what docs/format.md describes, and shares no line with the library.

const PROGRAM = fileURLToPath(new URL('../../../docs/restore-sqlite-changes.py', import.meta.url))
const COMMITS = 12

beforeEach(({ skip }) => {
  skip(spawnSync('python3', ['--version']).status !== 0, 'python3 not found')
})

interface Files {
  readonly history: History
  readonly full: string
  readonly logs: readonly string[]
  readonly restored: string
}

/** Steps of two commits each, in three logs. */
function makeFiles(place: Place): Files {
  const history = recordDatabase(place.file, COMMITS, 2)
  const logs = cutIntoLogs(history.steps, [2, 4]).map((steps, i) => {
    writeFileSync(place.path(`${i}.changes`), encodeChanges(steps))
    return place.path(`${i}.changes`)
  })
  writeFileSync(place.path('full.db'), history.states[0] as Buffer)
  return { history, full: place.path('full.db'), logs, restored: place.path('restored.db') }
}

const run = async (...args: string[]): Promise<string> =>
  (await promisify(execFile)('python3', [PROGRAM, ...args])).stdout

function expectState({ history, restored }: Files, commit: number): void {
  expect(readFileSync(restored).equals(history.states[commit] as Buffer)).toBe(true)
  expect(integrityOf(restored)).toBe('ok')
  const database = new Database(restored)
  expect(database.prepare('SELECT count(*) FROM task').pluck().get()).toBe(tasksAfter(commit))
  database.close()
}

describe('the reader in Python', () => {
  test('restores to the end, to a moment, and to a commit in the middle of a step', async ({ place }) => {
    const files = makeFiles(place)
    const { full, logs, restored } = files
    expect(await run(full, restored, ...logs)).toContain(`at commit ${COMMITS}.`)
    expectState(files, COMMITS)
    await run(full, restored, ...logs, '--at', new Date(START + 3_500).toISOString())
    expectState(files, 6)
    for (const commit of [0, 1, 4, 5, 11]) {
      await run(full, restored, ...logs, '--commit', String(commit))
      expectState(files, commit)
    }
  })

  test('takes a differential, and logs that begin before it', async ({ place }) => {
    const files = makeFiles(place)
    const { history, full, logs, restored } = files
    const differential = place.path('differential.changes')
    const plain = encodeDifferential(history.states[0] as Buffer, history.states[5] as Buffer, START + 2_500, 4)
    writeFileSync(differential, plain)
    await run(full, restored, '--differential', differential)
    expectState(files, 5)
    await run(full, restored, ...logs.slice(1), '--differential', differential)
    expectState(files, COMMITS)
    const tooEarly = run(full, restored, ...logs, '--differential', differential, '--commit', '4')
    await expect(tooEarly).rejects.toThrow('leave it or the logs away')
  })

  test('takes a merged log beside some of those that it was made of', async ({ place }) => {
    const files = makeFiles(place)
    const [, second, third] = files.logs as [string, string, string]
    const merged = place.path('1-merged.changes')
    writeFileSync(merged, encodeChanges(files.history.steps.slice(0, 4)))
    for (const [args, commit] of [
      [[], COMMITS],
      [['--commit', '5'], 5],
    ] as const) {
      await run(files.full, files.restored, second, third, merged, ...args)
      expectState(files, commit)
    }
  })

  test('refuses a time that may be of any zone', async ({ place }) => {
    const { full, logs, restored } = makeFiles(place)
    await expect(run(full, restored, ...logs, '--at', '2026-11-22T02:00:03')).rejects.toThrow('needs Z')
  })

  test('refuses a log that is missing, a damaged index and a commit that is not there', async ({ place }) => {
    const { full, logs, restored } = makeFiles(place)
    const [first, second, third] = logs as [string, string, string]
    await expect(run(full, restored, first, third)).rejects.toThrow('something is missing before commit 9')
    await expect(run(full, restored, ...logs, '--commit', '99')).rejects.toThrow('end with 12')
    const damaged = readFileSync(second)
    damaged[100] = (damaged[100] as number) ^ 1
    writeFileSync(second, damaged)
    await expect(run(full, restored, ...logs)).rejects.toThrow('damaged')
    await expect(run(full, restored, full)).rejects.toThrow('no list of changes')
  })
})
