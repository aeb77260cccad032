import { inspect } from 'node:util'
import { BackupError } from '@taskflow-backup/core'
import { describe, expect, test } from 'vitest'
import { serverErrorsOf, toServerError } from '../src/errors.ts'

/** What `mssql` rejects with: the last error, with those before it. */
function driverError(...messages: readonly (readonly [number: number, message: string])[]): Error {
  const errors = messages.map(([number, message]) => Object.assign(new Error(message), { number, code: 'EREQUEST' }))
  const last = errors.pop() as Error
  return Object.assign(last, { precedingErrors: errors })
}

const ABNORMALLY = [3013, 'BACKUP DATABASE is terminating abnormally.'] as const

describe('errors of the server', () => {
  test.each([
    [911, "Database 'nope' does not exist.", 'SOURCE_MISSING', false],
    [4208, 'The statement BACKUP LOG is not allowed while the recovery model is SIMPLE.', 'BASE_UNUSABLE', false],
    [4214, 'BACKUP LOG cannot be performed because there is no current database backup.', 'BASE_UNUSABLE', false],
    [3241, "The media family on device 'x' is incorrectly formed.", 'MEMBER_DAMAGED', false],
    [3242, "The file on device 'x' is not a valid Microsoft Tape Format backup set.", 'MEMBER_DAMAGED', false],
    [3101, 'Exclusive access could not be obtained because the database is in use.', 'DATABASE_IN_USE', true],
    [3159, 'The tail of the log for the database "x" has not been backed up.', 'TARGET_EXISTS', false],
    [229, 'The SELECT permission was denied', 'PRIVILEGE_MISSING', false],
    [262, 'BACKUP DATABASE permission denied in database', 'PRIVILEGE_MISSING', false],
    [916, 'The server principal is not able to access the database', 'PRIVILEGE_MISSING', false],
    [1205, 'was deadlocked', 'SERVER_BUSY', true],
    [3021, 'Cannot perform a backup or restore operation within a transaction.', 'SERVER_SETTING', false],
    [3098, 'The backup cannot be performed because COMPRESSION was requested', 'MEMBER_DAMAGED', false],
    [3204, 'The backup or restore was aborted.', 'SERVER_FAILED', true],
    [777_777, 'Something unheard of.', 'SERVER_FAILED', false],
  ] as const)('%i is told by its cause, not as 3013', (number, message, code, retryable) => {
    const error = toServerError(driverError([number, message], ABNORMALLY), 'BACKUP DATABASE [app]')
    expect(error).toMatchObject({ code, retryable, details: { number } })
    expect(error.message).toContain(`BACKUP DATABASE [app]: ${number}: ${message}`)
    expect(error.message).toContain('3013')
    expect(error.hint.length).toBeGreaterThan(10)
    expect(serverErrorsOf(error)).toEqual([
      { number, message },
      { number: ABNORMALLY[0], message: ABNORMALLY[1] },
    ])
  })

  test.each([
    ["Cannot open backup device 'D:\\x.bak'. Operating system error 5(Access is denied.).", 3201, 'STORAGE_DENIED'],
    [
      "Cannot open backup device 'D:\\x.bak'. Operating system error 3(The system cannot find the path specified.).",
      3201,
      'STORAGE_FAILED',
    ],
    [
      "Cannot open backup device '/b/x.bak'. Operating system error 2(The system cannot find the file specified.).",
      3201,
      'STORAGE_FAILED',
    ],
    ['Write on "/b/x.bak" failed: 112(There is not enough space on the disk.)', 3202, 'STORAGE_FULL'],
    ['Read on "/b/x.bak" failed: 38(Reached the end of the file.)', 3203, 'MEMBER_DAMAGED'],
    [
      'Cannot bulk load because the file "/b/x" could not be opened. Operating system error code 5(Access is denied.).',
      4861,
      'STORAGE_DENIED',
    ],
    [
      "BackupDiskFile::CreateMedia: Backup device 'x' failed to create. Operating system error 112(disk full).",
      18204,
      'STORAGE_FULL',
    ],
  ] as const)('a device: %s', (message, number, code) => {
    expect(toServerError(driverError([number, message], ABNORMALLY), 'BACKUP')).toMatchObject({ code })
  })

  test('of several, the first that says something counts', () => {
    const error = toServerError(
      driverError([3271, 'A nonrecoverable I/O error occurred'], [3202, 'Write on "x" failed: 112(full)'], ABNORMALLY),
      'BACKUP',
    )
    expect(error).toMatchObject({ code: 'STORAGE_FULL', details: { number: 3202 } })
  })

  test.each([
    ['ESOCKET', 'SERVER_UNREACHABLE', true],
    ['ETIMEOUT', 'SERVER_UNREACHABLE', true],
    ['ECONNCLOSED', 'SERVER_UNREACHABLE', true],
    ['ELOGIN', 'SERVER_REFUSED', false],
    ['EENCRYPT', 'SERVER_UNREACHABLE', false],
    ['EODD', 'SERVER_FAILED', false],
  ] as const)('%s of the driver', (key, code, retryable) => {
    const error = toServerError(Object.assign(new Error('It failed.'), { code: key }), 'SQL Server db:1433')
    expect(error).toMatchObject({ code, retryable, message: 'SQL Server db:1433: It failed.' })
    expect(error.cause).toMatchObject({ code: key })
  })

  test("keeps neither the driver's objects nor a secret", () => {
    const secret = 'hunter2'
    const login = Object.assign(new Error(`Login failed for 'sa' with ${secret}`), {
      number: 18_456,
      config: { password: secret },
      originalError: Object.assign(new Error(secret), { connection: { password: secret } }),
    })
    const error = toServerError(login, 'SQL Server', (text) => text.replaceAll(secret, '***'))
    expect(error).toMatchObject({ code: 'SERVER_REFUSED' })
    expect(inspect(error, { depth: 20, showHidden: true })).not.toContain(secret)
    expect(JSON.stringify(error)).not.toContain(secret)
  })

  test('leaves what is told already as it is', () => {
    const error = new BackupError('ABORTED', 'Enough.')
    expect(toServerError(error, 'BACKUP')).toBe(error)
  })
})
