import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import {
  BackupError,
  type BackupEvent,
  createBackup,
  ERROR_CODES,
  pruneBackups,
  restoreBackup,
  toBackupError,
  undoRestore,
  verifyBackup,
} from '../src/index.ts'
import { scenario } from './support/scenario.ts'
import { codeOf } from './support/text.ts'

describe('events', () => {
  test('every verb tells its begin and its end', async () => {
    const { plan } = scenario(120)
    const events: BackupEvent[] = []
    const onEvent = (event: BackupEvent): void => void events.push(event)
    const { id } = await createBackup(plan, { onEvent })
    await verifyBackup(plan, { level: 'restored', onEvent })
    const { undo } = await restoreBackup(plan, { onEvent })
    await undoRestore(plan, undo, { onEvent })
    await pruneBackups(plan, { onEvent })
    const main = events.filter(({ type }) => type !== 'progress')
    expect(main.map(({ verb, type }) => `${verb} ${type}`)).toEqual(
      ['createBackup', 'verifyBackup', 'restoreBackup', 'undoRestore', 'pruneBackups'].flatMap((verb) => [
        `${verb} started`,
        `${verb} completed`,
      ]),
    )
    expect(main[0]).toMatchObject({ plan: 'books', backupId: id, kind: 'full', at: expect.any(Date) })
    expect(main[1]).toMatchObject({
      backupId: id,
      kind: 'full',
      durationMs: expect.any(Number),
      storedBytes: expect.any(Number),
    })
    expect(main[2]).toMatchObject({ level: 'restored' })
  })

  test('progress tells phase, bytes and rate, and ends at the whole', async () => {
    const { plan } = scenario(500)
    const events: BackupEvent[] = []
    await createBackup(plan)
    await restoreBackup(plan, { to: 'copy', onEvent: (event) => events.push(event) })
    const progress = events.filter((event) => event.type === 'progress' && event.phase === 'restoring')
    expect(progress.length).toBeGreaterThan(0)
    const last = progress.at(-1) as Extract<BackupEvent, { type: 'progress' }>
    expect(last.bytes).toBe(last.totalBytes)
    expect(last.bytesPerSecond).toBeGreaterThan(0)
  })

  test('a failure is told with its code', async () => {
    const { plan } = scenario(3)
    const events: BackupEvent[] = []
    expect(await codeOf(restoreBackup(plan, { onEvent: (event) => events.push(event) }))).toBe('BACKUP_NOT_FOUND')
    expect(events).toEqual([
      expect.objectContaining({ type: 'failed', code: 'BACKUP_NOT_FOUND', durationMs: expect.any(Number) }),
    ])
  })

  test('a listener that throws changes nothing', async () => {
    const { plan } = scenario(3)
    const warnings: string[] = []
    const onWarning = (warning: Error): void => void warnings.push(warning.message)
    process.on('warning', onWarning)
    await createBackup(plan, {
      onEvent: () => {
        throw new Error('listener')
      },
    })
    await sleep(10)
    process.off('warning', onWarning)
    expect(warnings).toContain('onEvent threw: listener')
  })
})

describe('notifiers', () => {
  test('hear everything but progress, in order, and may fail', async () => {
    const heard: string[] = []
    const { planWith } = scenario(200)
    const notifiers = [
      async ({ type }: BackupEvent) => void heard.push(type),
      () => {
        throw new Error('at once')
      },
      () => Promise.reject(new Error('later')),
    ]
    const events: BackupEvent[] = []
    await createBackup(planWith({ notifiers }), { onEvent: (event) => events.push(event) })
    expect(heard).toEqual(['started', 'completed'])
    const warnings = events.flatMap((event) => (event.type === 'warning' ? [event.message] : []))
    expect(warnings.sort()).toEqual([
      'A notifier failed: at once',
      'A notifier failed: at once',
      'A notifier failed: later',
      'A notifier failed: later',
    ])
  })

  test('are waited for before the verb ends', async () => {
    let done = 0
    const notifiers = [
      async () => {
        await sleep(20)
        done++
      },
    ]
    const { planWith } = scenario(3)
    await createBackup(planWith({ notifiers }))
    expect(done).toBe(2)
    expect(
      await codeOf(restoreBackup(planWith({ notifiers }), { id: '20260101T000000000Z-abcd/20260101T000000000Z-full' })),
    ).toBe('BACKUP_NOT_FOUND')
    expect(done).toBe(3)
  })
})

describe('errors', () => {
  test('every code has a meaning and a hint that are sentences', () => {
    for (const [code, [meaning, hint]] of Object.entries(ERROR_CODES)) {
      expect(code).toMatch(/^[A-Z_]+$/)
      expect(meaning).toMatch(/^[A-Z].*\.$/)
      expect(hint).toMatch(/\.$/)
    }
  })

  test('are printed as plain data, without their cause', () => {
    const error = new BackupError('STORAGE_FULL', 'No room.', { cause: new Error('secret'), details: { left: 0 } })
    expect(JSON.parse(JSON.stringify(error))).toEqual({
      code: 'STORAGE_FULL',
      message: 'No room.',
      hint: ERROR_CODES.STORAGE_FULL[1],
      retryable: false,
      details: { left: 0 },
    })
    expect(toBackupError(error, 'INTERNAL', 'x')).toBe(error)
    expect(toBackupError('text', 'INTERNAL', 'It failed')).toMatchObject({
      code: 'INTERNAL',
      message: 'It failed: text',
    })
  })
})
