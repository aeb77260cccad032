import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, readFile, realpath, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { root } from './docs/markdown.ts'

// The examples, run as their readers run them: with pipes, and with a temporary folder of their own.

const Database = createRequire(join(root, 'packages', 'sqlite', 'package.json'))('better-sqlite3')

let folder: string

beforeEach(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'taskflow examples ')))
})

afterEach(() => rm(folder, { recursive: true, force: true }))

describe('examples/sqlite-tour', () => {
  test('runs, tells figures, and leaves what it says', async () => {
    const { code, stdout, stderr } = await run('sqlite-tour/tour.ts')
    expect(stderr).toBe('')
    expect(code).toBe(0)
    expect(stdout).not.toContain('\u001b')
    expect(stdout.match(/^ ?\d+ \S/gm)).toHaveLength(10)
    expect(stdout).toMatch(/FOUND {2}VERIFICATION_FAILED/)
    expect(stdout).toMatch(/0 differ/)
    const made = (await readdir(folder)).find((name) => name.startsWith('taskflow-tour-')) ?? ''
    expect(stdout).toContain(`All of it is in ${join(folder, made)}`)
    expect(await readdir(join(folder, made))).toEqual(
      expect.arrayContaining(['backups', 'restored.db', 'taskmanagement.db']),
    )
  })

  test('reads a database with an odd name that others have open, and changes nothing in it', async () => {
    const file = join(folder, "it's my döta.db")
    const database = new Database(file)
    database.pragma('journal_mode = WAL')
    database.exec(`CREATE TABLE "a ""b""" (x); INSERT INTO "a ""b""" VALUES (1), (2); CREATE TABLE empty (y)`)
    const before = await readFile(file)
    const { code, stdout, stderr } = await run(
      'sqlite-tour/tour.ts',
      '--db',
      file,
      '--dir',
      join(folder, 'work', 'here'),
    )
    expect(stderr).toBe('')
    expect(code).toBe(0)
    expect(stdout).toMatch(/2 rows in 2 tables came back/)
    expect(stdout).toMatch(/2 → 0 → 2/)
    expect(await readFile(file)).toEqual(before)
    expect((await readdir(folder)).sort()).toEqual(
      [file, `${file}-shm`, `${file}-wal`, 'work'].map((path) => path.replace(`${folder}/`, '')),
    )
    expect(database.prepare('SELECT count(*) FROM "a ""b"""').pluck().get()).toBe(2)
    database.close()
  })

  test('refuses what it does not understand, before it makes anything', async () => {
    for (const args of [['--bad'], ['extra'], ['--db'], ['--db', '']]) {
      const { code, stderr } = await run('sqlite-tour/tour.ts', ...args)
      expect(code, args.join(' ')).toBe(2)
      expect(stderr).toContain('Usage:')
    }
    const missing = await run('sqlite-tour/tour.ts', '--db', join(folder, 'missing.db'))
    expect(missing.code).toBe(1)
    expect(missing.stderr).toMatch(/^\s*SOURCE_MISSING: .*\nHint: /)
    const help = await run('sqlite-tour/tour.ts', '--help')
    expect(help.code).toBe(0)
    expect(help.stdout).toContain('--db FILE')
    expect(await readdir(folder)).toEqual([])
  })

  test.each([1, 3, 5])('an interrupt after %i steps leaves nothing', async (steps) => {
    const { code, stdout } = await runWith(['--import', interruptAfter(steps)], 'sqlite-tour/tour.ts')
    expect(code).toBe(130)
    expect(stdout).toMatch(/Interrupted\. Everything that the tour made is removed/)
    await sleep(200)
    expect(await readdir(folder)).toEqual([])
  })
})

test('examples/quickstart runs', async () => {
  const { code, stdout } = await run('quickstart/start.ts')
  expect(code).toBe(0)
  expect(stdout).toContain('Restored tasks: Order the new scanner, Call the landlord, Test the restore')
})

test('examples/restore-check runs, and cleans up', async () => {
  const { code, stdout } = await run('restore-check/start.ts')
  expect(stdout).toContain('Exit codes: 0 and 1.')
  expect(code).toBe(0)
  expect(await readdir(folder)).toEqual([])
})

test('examples/sqlite-time-travel goes back to the second before, and cleans up', async () => {
  const { code, stdout, stderr } = await run('sqlite-time-travel/time-travel.ts')
  expect(stderr).toBe('')
  expect(code).toBe(0)
  const [, live] = /^Live: +(.+)$/m.exec(stdout) ?? []
  const [, restored] = /^Restored: +(.+)$/m.exec(stdout) ?? []
  const [, deleted] = /takes (\d+) tasks\./.exec(stdout) ?? []
  const [, missing, newer] = /^(\d+) tasks are missing in the live database, (\d+) were added/m.exec(stdout) ?? []
  expect(live).not.toBe(restored)
  expect(Number(missing)).toBeGreaterThan(0)
  expect(Number(missing)).toBeLessThanOrEqual(Number(deleted)) // some may have been added after the last look before
  expect(stdout).toMatch(/ok +integrity_check/)
  expect(stdout).toMatch(/kept: '.+before-restore-/)
  const [, brought] = /^(\d+) tasks that were added since are brought over/m.exec(stdout) ?? []
  expect(Number(brought)).toBeGreaterThanOrEqual(Number(newer)) // the app went on until it was stopped
  expect(await readdir(folder)).toEqual([])
})

test('examples/postgres-pitr goes back to the second before, and cleans up', async ({ skip }) => {
  await chmod(folder, 0o711) // as root, the server runs as another user
  const { code, stdout, stderr } = await run('postgres-pitr/pitr.ts')
  skip(stdout.startsWith('There is no PostgreSQL'), 'there is no PostgreSQL for this machine among the npm packages')
  expect(stderr).toBe('')
  expect(code).toBe(0)
  const [, gone] = /(\d+) tasks are gone/.exec(stdout) ?? []
  const [, back] = /(\d+) tasks are back/.exec(stdout) ?? []
  expect(Number(back)).toBeGreaterThan(0)
  expect(Number(back)).toBeLessThanOrEqual(Number(gone)) // it may have stood still for the second in between
  const [, before] = /, (-?\d+) ms before\./.exec(stdout) ?? []
  expect(Number(before)).toBeGreaterThanOrEqual(0)
  expect(await readdir(folder)).toEqual([])
})

/** Node.js 22 warns that it strips types. */
const quiet = ['--disable-warning=ExperimentalWarning']

/** A module that interrupts its own process as it begins its n-th step: from outside it may have ended by then. */
const interruptAfter = (steps: number): string =>
  `data:text/javascript,${encodeURIComponent(`
    const write = process.stdout.write.bind(process.stdout)
    let told = ''
    let sent = false
    process.stdout.write = (text, ...rest) => {
      told += text
      const begun = told.match(/^ ?\\d+ \\S/gm) ?? []
      if (!sent && begun.length >= ${steps}) sent = process.kill(process.pid, 'SIGINT')
      return write(text, ...rest)
    }`)}`

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs an example. */
const run = (example: string, ...args: string[]): Promise<Ended> => runWith([], example, ...args)

/** Runs an example with options for Node.js. */
async function runWith(options: readonly string[], example: string, ...args: string[]): Promise<Ended> {
  const child = spawn(process.execPath, [...quiet, ...options, join(root, 'examples', example), ...args], {
    cwd: folder,
    env: { ...process.env, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const [[code], stdout, stderr] = await Promise.all([once(child, 'close'), text(child.stdout), text(child.stderr)])
  return { code, stdout, stderr }
}
