import { spawn } from 'node:child_process'
import { inspect } from 'node:util'
import { BackupError, createBackup } from '@taskflow-backup/core'
import { faulty } from '@taskflow-backup/testing'
import { afterEach, describe, expect, test, vi } from 'vitest'
import type { MssqlOptions } from '../src/options.ts'
import { type BackupSite, backupSite, DATABASE, PASSWORD, SERVER_DIRECTORY } from './support/backup-site.ts'

let site: BackupSite
afterEach(() => site?.destroy())

const TRANSFERS: readonly (readonly [name: string, options: Partial<MssqlOptions>])[] = [
  ['shared folder', {}],
  ['read-back', { transfer: { type: 'read-back', serverDirectory: SERVER_DIRECTORY } }],
  ['on the server', { transfer: { type: 'on-server', serverDirectory: SERVER_DIRECTORY } }],
]
const FULL_DISK = [
  { number: 3202, message: 'Write on "x" failed: 112(There is not enough space on the disk.)', class: 16 },
  { number: 3013, message: 'BACKUP DATABASE is terminating abnormally.', class: 16 },
]
const ANY = [{ number: 50_000, message: `Ordered by the test ${PASSWORD}.`, class: 16 }]

/** What is left of a backup that failed: nothing; and the next one succeeds. */
async function nothingIsLeft(): Promise<void> {
  expect(await site.files()).toEqual([])
  expect(await site.keys()).toEqual([])
  await expect.poll(() => site.server.engine.sessions.locks).toEqual([])
}

function noSecretIn(...things: readonly unknown[]): void {
  for (const thing of things) expect(inspect(thing, { depth: 30, showHidden: true })).not.toContain(PASSWORD)
}

describe.each(TRANSFERS)('fake SQL Server: a backup by %s that fails', (_, options) => {
  test('leaves nothing, whichever statement fails', async () => {
    site = await backupSite(options)
    Object.assign(site.database, { paddingBytes: 0 })
    await site.backup()
    const statements = site.server.statements().length
    let failed = 0
    for (let skip = 0; skip < statements; skip++) {
      const [files, keys] = [await site.files(), await site.keys()]
      site.server.engine.faults.clear()
      site.server.fail(/^/, ANY, { skip })
      const outcome = await site.backup().catch((error: unknown) => error)
      noSecretIn(outcome, site.events)
      if (!(outcome instanceof Error)) continue // one that has another way, or that only clears up
      failed++
      expect(outcome).toBeInstanceOf(BackupError)
      expect([await site.files(), await site.keys()]).toEqual([files, keys])
    }
    expect(failed).toBeGreaterThan(5)
    await expect.poll(() => site.server.engine.sessions.locks).toEqual([])
  })

  test.each(['before', 'middle', 'after'] as const)(
    'leaves nothing when the connection is lost %s BACKUP',
    async (at) => {
      site = await backupSite(options)
      site.server.fail(/^BACKUP/, 'drop', { at })
      await expect(site.backup()).rejects.toMatchObject({ code: 'SERVER_UNREACHABLE', retryable: true })
      await nothingIsLeft()
      expect((await site.backup()).kind).toBe('full')
    },
  )

  test('says why, with the cause and all the server said', async () => {
    site = await backupSite(options)
    site.server.fail(/^BACKUP/, FULL_DISK, { at: 'middle' })
    const error = await site.backup().catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'STORAGE_FULL', details: { number: 3202 } })
    expect((error as Error).message).toMatch(/^BACKUP DATABASE \[Task\]\]Flow\]: 3202: Write on .* \(also 3013: /)
    await nothingIsLeft()
  })

  test('an abort cancels the work of the server', async () => {
    site = await backupSite(options)
    site.server.fail(/^BACKUP/, 'hang', { at: 'middle' })
    const abort = new AbortController()
    const running = site.backup('full', {}, abort.signal)
    await expect.poll(() => site.server.engine.faults.pending).toBe(0)
    const connected = vi.spyOn(site.server.engine.sessions, 'connected')
    abort.abort()
    await expect(running).rejects.toMatchObject({ code: 'ABORTED' })
    // A driver that gets no answer to its cancelling gives the connection up, and another one has to clear up.
    expect(connected).not.toHaveBeenCalled()
    await nothingIsLeft()
    expect((await site.backup()).kind).toBe('full')
  })

  test('a server that says nothing any more', async () => {
    site = await backupSite({ ...options, inactivityTimeoutMs: 500 })
    site.server.fail(/^BACKUP/, 'hang', { at: 'middle' })
    await expect(site.backup()).rejects.toMatchObject({ code: 'SERVER_UNREACHABLE', retryable: true })
    await nothingIsLeft()
  })

  test('a destination that fails', async () => {
    site = await backupSite(options)
    const full = faulty(site.storage, {
      plan: [{ when: ({ operation, key }) => operation === 'put' && !key.includes('lock'), kind: 'full' }],
    })
    await expect(createBackup(site.plan({}, { destinations: [full] }))).rejects.toMatchObject({})
    await nothingIsLeft()
  })

  test('an abort while the bytes are on their way', async () => {
    site = await backupSite(options)
    const abort = new AbortController()
    const slow = faulty(site.storage, {
      plan: [{ when: ({ operation, key }) => operation === 'put' && !key.includes('lock'), kind: 'hang' }],
    })
    const running = createBackup(site.plan({}, { destinations: [slow] }), { signal: abort.signal })
    await expect
      .poll(async () => slow.calls.some(({ operation, key }) => operation === 'put' && !key.includes('lock')))
      .toBe(true)
    abort.abort()
    await expect(running).rejects.toMatchObject({ code: 'ABORTED' })
    slow.release()
    await nothingIsLeft()
  })
})

describe('fake SQL Server: what cannot be put right', () => {
  test('a log backup that failed after the server made it is a gap: the next one is a full, and says so', async () => {
    site = await backupSite()
    await site.backup()
    site.server.insert(DATABASE, { id: 2 })
    site.server.fail(/b\.name = @name/, ANY)
    await expect(site.backup('log')).rejects.toBeInstanceOf(BackupError)
    expect(await site.files()).toEqual([])
    const { manifest } = await site.backup('log')
    expect(manifest).toMatchObject({
      kind: 'full',
      requested: { reason: expect.stringMatching(/attempt that failed later/) },
    })
  })

  test.each(['differential', 'log'] as const)('a %s of which any statement fails leaves nothing', async (kind) => {
    site = await backupSite()
    Object.assign(site.database, { paddingBytes: 0 })
    await site.backup()
    await site.backup(kind)
    const statements = site.server.statements().length
    let failed = 0
    for (let skip = 0; skip < statements / 2; skip++) {
      const keys = await site.keys()
      site.server.engine.faults.clear()
      site.server.fail(/^/, ANY, { skip })
      const outcome = await site.backup(kind).catch((error: unknown) => error)
      noSecretIn(outcome)
      expect(await site.files()).toEqual([])
      if (!(outcome instanceof Error)) continue
      failed++
      expect(await site.keys()).toEqual(keys)
    }
    expect(failed).toBeGreaterThan(5)
  })

  test('a file that the server does not remove is told', async () => {
    site = await backupSite({ transfer: { type: 'read-back', serverDirectory: SERVER_DIRECTORY } })
    site.server.fail(/xp_delete_file/, ANY, { skip: 1, times: 9 })
    await site.backup()
    const [left] = await site.files()
    expect(left).toMatch(/^taskflow_temp_/)
    const warnings = site.events.flatMap((event) => (event.type === 'warning' ? [event.message] : []))
    expect(warnings.join()).toContain(left)
    noSecretIn(warnings)
  })

  test('a child that is killed', async () => {
    site = await backupSite()
    const killed: typeof spawn = ((...call: Parameters<typeof spawn>) => {
      const child = spawn(...call)
      child.kill('SIGKILL')
      return child
    }) as typeof spawn
    await expect(createBackup(site.plan({}, { runtime: { spawn: killed } }))).rejects.toMatchObject({
      code: 'CHILD_FAILED',
    })
    await nothingIsLeft()
  })

  test('a wrong password is nowhere in the error', async () => {
    site = await backupSite()
    const connection = { ...site.server.config, password: `${PASSWORD}?` }
    const error = await site.backup('full', { connection }).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'SERVER_REFUSED' })
    noSecretIn(error, site.events)
  })
})
