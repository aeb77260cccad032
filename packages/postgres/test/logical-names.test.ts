import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { toConnectionError } from '../src/errors.ts'
import { settingValue } from '../src/logical/carry-over.ts'
import {
  exactPattern,
  isStagingName,
  keptName,
  parseTableName,
  quoteConnectionValue,
  quoteIdentifier,
  quoteLiteral,
  stagingName,
} from '../src/logical/names.ts'
import { programError } from '../src/logical/program-error.ts'
import { findPrograms, parseVersion } from '../src/logical/programs.ts'
import { createDatabase } from '../src/logical/source.ts'

describe('names', () => {
  test.for([
    ['public.task', 'public', 'task'],
    ['Public.My Table', 'Public', 'My Table'],
    ['a.b.c', 'a', 'b.c'],
    ['"a.b"."c""d"', 'a.b', 'c"d'],
    ['"a.b".c.d', 'a.b', 'c.d'],
    ['ä.*', 'ä', '*'],
  ])('%s is a table', ([text, schema, table]) => {
    expect(parseTableName(text as string)).toEqual({ schema, table })
  })

  test.for(['task', '', '.', 'a.', '.b', '"a.b', '"".b', '"a"b.c'])('%j is no table', (text) => {
    expect(() => parseTableName(text)).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }))
  })

  test('are quoted so that they cannot end their quotes', () => {
    expect(quoteIdentifier('a"b')).toBe('"a""b"')
    expect(quoteLiteral(`a'b`)).toBe(`'a''b'`)
    expect(quoteLiteral(`a\\'b`)).toBe(` E'a\\\\''b'`)
    expect(quoteConnectionValue(`a\\'b`)).toBe(`'a\\\\\\'b'`)
    expect(exactPattern('a.b', 'c*"?')).toBe('"a.b"."c*""?"')
    for (const quote of [quoteIdentifier, quoteLiteral]) expect(() => quote('a\0b')).toThrow()
    expect(() => quoteIdentifier('')).toThrow()
  })

  test('of databases beside a target fit into 63 bytes, whole characters and all', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 63 }), (target) => {
        const staging = stagingName(target, 'abcdefghij12')
        const kept = keptName(target, new Date('2026-11-22T20:39:09.123Z'), 'ab12')
        for (const name of [staging, kept]) {
          expect(Buffer.byteLength(name)).toBeLessThanOrEqual(63)
          expect(name).not.toContain('\ufffd')
        }
        expect(isStagingName(staging)).toBe(true)
        expect(isStagingName(kept)).toBe(false)
        expect(kept).toMatch(/_before_restore_20261122_203909_ab12$/)
      }),
    )
  })

  test.for([
    ['work_mem', '64MB', `'64MB'`],
    ['app.x', `it's "a", b`, `'it''s "a", b'`],
    ['search_path', '"$user", public', `'$user', 'public'`],
    ['search_path', '"a""b, c",  d', `'a"b, c', 'd'`],
    ['search_path', '', `''`],
    ['search_path', '""', `''`],
    ['Session_Preload_Libraries', '"$libdir/x", y', `'$libdir/x', 'y'`],
  ])('%s = %s is set as %s', ([key, value, sql]) => {
    expect(settingValue(key as string, value as string)).toBe(sql)
  })
})

describe('SQL that is made from a manifest', () => {
  test('has everything that the manifest says within quotes, or not at all', () => {
    const shape = {
      owner: 'a',
      encoding: "UTF8'; --",
      collate: 'C',
      ctype: 'C',
      localeProvider: 'icu; DROP',
      locale: 'x',
    }
    expect(createDatabase('n"', shape, 'o"', 17)).toBe(
      `CREATE DATABASE "n""" TEMPLATE template0 ENCODING 'UTF8''; --' LC_COLLATE 'C' LC_CTYPE 'C' OWNER "o"""`,
    )
    const icu = { ...shape, encoding: 'UTF8', localeProvider: 'icu', locale: "de'" }
    expect(createDatabase('n', icu, undefined, 17)).toMatch(/ LOCALE_PROVIDER icu ICU_LOCALE 'de'''$/)
    expect(createDatabase('n', icu, undefined, 14)).not.toContain('LOCALE_PROVIDER')
  })
})

test('a lock that is not given in time says that the source is busy', () => {
  const settings = { host: 'h', port: 1, database: 'd', user: 'u', tls: false, connectTimeoutMs: 1 } as const
  const thrown = Object.assign(new Error('canceling statement due to lock timeout'), { code: '55P03' })
  expect(toConnectionError(thrown, settings)).toMatchObject({ code: 'SOURCE_BUSY', retryable: true })
})

describe('programs', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'taskflow-programs-'))
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))

  test('the version is read from what they say', () => {
    expect(parseVersion('pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n')).toEqual({
      major: 15,
      version: '15.18 (Debian 15.18-0+deb12u1)',
    })
    expect(parseVersion('pg_dump (PostgreSQL) 18beta1')).toEqual({ major: 18, version: '18beta1' })
    expect(parseVersion('pg_dump: command not found')).toBeUndefined()
  })

  test('the oldest that is not older than the server is taken', async ({ skip }) => {
    skip(process.platform === 'win32', 'the programs of this test are shell scripts')
    for (const version of [14, 16, 17]) {
      await mkdir(join(folder, String(version)))
      for (const name of ['pg_dump', 'pg_dumpall', 'pg_restore', 'psql']) {
        const file = join(folder, String(version), name)
        await writeFile(file, `#!/bin/sh\necho "${name} (PostgreSQL) ${version}.2"\n`)
        await chmod(file, 0o755)
      }
    }
    const path = process.env.PATH
    process.env.PATH = [17, 14, 16].map((version) => join(folder, String(version))).join(':')
    try {
      expect(await findPrograms(undefined, 16)).toMatchObject({ major: 16, version: '16.2' })
      expect((await findPrograms(undefined, 17)).folder).toBe(join(folder, '17'))
    } finally {
      process.env.PATH = path
    }
    const old = findPrograms(join(folder, '14'), 15)
    await expect(old).rejects.toMatchObject({
      code: 'PROGRAM_MISSING',
      message: expect.stringContaining('14.2'),
      hint: expect.stringContaining('postgresql-client-15'),
    })
    await expect(findPrograms(folder, 15)).rejects.toMatchObject({ code: 'PROGRAM_MISSING' })
  })

  test.for([
    ['pg_dump: error: query failed: ERROR:  permission denied for table t', 'PRIVILEGE_MISSING'],
    ['pg_dump: error: aborting because of server version mismatch', 'PROGRAM_MISSING'],
    ['ERROR:  canceling statement due to lock timeout', 'SOURCE_BUSY'],
    ['server closed the connection unexpectedly', 'SERVER_UNREACHABLE'],
    ['FATAL:  password authentication failed for user "a"', 'SERVER_REFUSED'],
    ['could not write to file: No space left on device', 'PROGRAM_FAILED'],
    ['something else', 'PROGRAM_FAILED'],
  ])('%s: %s', ([said, code]) => {
    const error = programError('pg_dump', 1, `${said}\nand the word s3cret`, 's3cret')
    expect(error.code).toBe(code)
    expect(error.message).toContain(said)
    expect(error.message).not.toContain('s3cret')
  })
})
