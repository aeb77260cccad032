import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { backupStatement } from '../src/statements/backup.ts'
import { dropDatabaseStatement, renameDatabaseStatement } from '../src/statements/database.ts'
import { restoreStatement } from '../src/statements/restore.ts'
import { SqlError } from './support/engine/errors.ts'
import { parse as parseTexts } from './support/engine/parser.ts'

const parse = (...given: Parameters<typeof parseTexts>) => parseTexts(...given).map(({ statement }) => statement)

const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 }).filter((text) => !text.includes('\0'))
const tricky = fc.oneof(
  name,
  fc.constantFrom("it's", "''", ']', ']]', '[x', 'a;b', '--', '/*', 'N', '"', "x'; DROP DATABASE [app]; --"),
)

describe('fake SQL Server: reading statements', () => {
  test('names and texts come through quoting as they were', () => {
    fc.assert(
      fc.property(tricky, tricky, (first, second) => {
        expect(parse(dropDatabaseStatement(first))).toEqual([{ type: 'drop', ifExists: false, database: first }])
        expect(parse(renameDatabaseStatement(first, second))).toMatchObject([
          { type: 'alter', database: first, change: { name: second } },
        ])
      }),
    )
  })

  test('so do paths and moves', () => {
    fc.assert(
      fc.property(tricky, tricky, (first, second) => {
        const path = `/backup/${second}`
        const backup = backupStatement({
          what: 'database',
          database: first,
          devices: [{ type: 'disk', path }],
          checksum: true,
          name: second,
          description: first,
          statsPercent: 5,
        })
        const [parsed] = parse(backup)
        expect(parsed).toMatchObject({ type: 'backup', database: first, devices: [{ type: 'disk', path }] })
        expect(parsed?.type === 'backup' && Object.fromEntries(parsed.options)).toEqual({
          ...{ FORMAT: true, INIT: true, CHECKSUM: true, STATS: 5 },
          ...{ NAME: second, DESCRIPTION: first },
        })
        const restore = restoreStatement({
          what: 'database',
          database: first,
          devices: [{ type: 'disk', path }],
          moves: [{ logicalName: second, path }],
          recovery: 'norecovery',
          checksum: false,
          statsPercent: 5,
        })
        expect(parse(restore)).toMatchObject([{ type: 'restore', database: first, moves: new Map([[second, path]]) }])
      }),
    )
  })

  test.each([
    ['', 0],
    [';;', 0],
    ['-- nothing\n/* at all */', 0],
    ['DROP DATABASE x; DROP DATABASE IF EXISTS [y]', 2],
    ['set nocount on; USE x', 2],
  ])('%j', (text, count) => {
    expect(parse(text)).toHaveLength(count)
  })

  test.each([
    ['DROP TABLE x', 102],
    ['DROP DATABASE x DROP DATABASE y', 102],
    ['DROP DATABASE', 102],
    [`DROP DATABASE [${'x'.repeat(129)}]`, 103],
    ["BACKUP DATABASE x TO DISK = 'y'", 50_001],
    ["BACKUP DATABASE x TO DISK = 'y' WITH FORMAT, FORMAT", 3031],
    ["RESTORE LOG x FROM DISK = 'y' WITH RECOVERY, NORECOVERY", 3031],
    ["BACKUP DATABASE x TO TAPE = 'y' WITH FORMAT", 102],
    ['BACKUP DATABASE x TO DISK = @path WITH FORMAT', 137],
    ["RESTORE LOG x FROM DISK = 'y' WITH DIFFERENTIAL", 155],
    ['ALTER DATABASE x SET SINGLE_USER WITH ROLLBACK AFTER 5', 102],
    ['DBCC CHECKDB (x) WITH REPAIR_REBUILD', 155],
    ['EXEC sp_who', 2812],
  ])('%s is refused with %d', (text, number) => {
    try {
      parse(text)
      expect.unreachable()
    } catch (thrown) {
      expect(thrown).toBeInstanceOf(SqlError)
      expect((thrown as SqlError).messages).toMatchObject([{ number }])
    }
  })

  test('each with its own text', () => {
    expect(parseTexts(' USE x ; -- then\nDROP DATABASE [a;b];').map(({ text }) => text)).toEqual([
      'USE x',
      'DROP DATABASE [a;b]',
    ])
  })

  test('variables stand for values', () => {
    const variables = new Map([
      ['@path', '/x'],
      ['@db', 'app'],
    ])
    expect(parse('BACKUP DATABASE @db TO DISK = @Path WITH FORMAT', variables)).toMatchObject([
      { database: 'app', devices: [{ path: '/x' }] },
    ])
  })
})
