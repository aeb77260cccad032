import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { backupStatement } from '../src/statements/backup.ts'
import {
  checkDatabaseStatement,
  deleteFileStatement,
  dropDatabaseStatement,
  multiUserStatement,
  renameDatabaseStatement,
  singleUserStatement,
} from '../src/statements/database.ts'
import { identifier, literal, pathLiteral } from '../src/statements/quote.ts'
import { fileListStatement, recoverStatement, restoreStatement, verifyStatement } from '../src/statements/restore.ts'
import { skeleton, tokens } from './support/tsql-tokens.ts'

const invalid = expect.objectContaining({ code: 'OPTIONS_INVALID' })

/** Texts made of what could break out of quotes, and of anything else. */
const nasty = (maxLength: number) =>
  fc
    .array(
      fc.oneof(
        fc.constantFrom(
          ']',
          '[',
          "'",
          '"',
          ';',
          '--',
          '/*',
          '*/',
          ' ',
          '\n',
          '\r',
          '\t',
          '\\',
          '@',
          '%',
          'ʼ',
          '＇',
          '😀',
          'N',
          "']",
        ),
        fc.string({ unit: 'binary', minLength: 1, maxLength: 4 }),
      ),
      { minLength: 1, maxLength: 130 },
    )
    .map((parts) =>
      parts
        .join('')
        .replaceAll('\0', '')
        .replace(/\\+(?=\r?\n)/g, '')
        .slice(0, maxLength)
        .replace(/\\$/, '/'),
    )
    .filter((text) => text.length > 0)

const name = nasty(128)
const path = nasty(259)
const literalPath = path.map((text) => text.replace(/[*?]/g, '.'))

describe('quoting', () => {
  it('brings any name and any text back as one token, and nothing else', () => {
    fc.assert(
      fc.property(name, path, (aName, text) => {
        expect(tokens(identifier(aName))).toEqual([{ type: 'name', value: aName }])
        expect(tokens(literal(text))).toEqual([{ type: 'text', value: text }])
        expect(tokens(pathLiteral(text))).toEqual([{ type: 'text', value: text }])
      }),
      { numRuns: 500 },
    )
  })

  it('takes names of 128 characters, however many of them are doubled', () => {
    expect(identifier(']'.repeat(128))).toBe(`[${']'.repeat(256)}]`)
    expect(identifier('😀'.repeat(64))).toBe(`[${'😀'.repeat(64)}]`)
    expect(() => identifier('x'.repeat(129))).toThrow(invalid)
    expect(() => identifier('😀'.repeat(65))).toThrow(invalid)
    expect(() => identifier('')).toThrow(invalid)
  })

  it('refuses what no quoting can carry', () => {
    for (const text of ['a\0b', 'a\\\nb', 'a\\\r\nb', undefined as unknown as string]) {
      expect(() => identifier(text)).toThrow(invalid)
      expect(() => literal(text)).toThrow(invalid)
      expect(() => pathLiteral(text)).toThrow(invalid)
    }
    expect(() => pathLiteral('x'.repeat(260))).toThrow(invalid)
    expect(() => pathLiteral('')).toThrow(invalid)
  })
})

describe('statements with any names in them', () => {
  it('have the same shape as with plain ones, and the names in their places', () => {
    const build = (a: string, b: string, p: string, q: string) => [
      backupStatement({
        what: 'database',
        database: a,
        devices: [
          { type: 'disk', path: p },
          { type: 'disk', path: `${q.slice(0, 200)}2` },
        ],
        checksum: true,
        name: b,
        description: p.slice(0, 255),
        statsPercent: 5,
        encryption: { algorithm: 'AES_256', serverCertificate: b },
      }),
      restoreStatement({
        what: 'log',
        database: a,
        devices: [{ type: 'disk', path: p }],
        moves: [{ logicalName: b, path: q }],
        recovery: 'norecovery',
        checksum: true,
        statsPercent: 5,
        stopAtMark: { mark: `m${b.slice(0, 100)}`, after: '2026-01-31T12:00:00.000' },
      }),
      recoverStatement(a),
      fileListStatement([{ type: 'url', path: p }]),
      verifyStatement([{ type: 'disk', path: p }]),
      checkDatabaseStatement(a),
      dropDatabaseStatement(a),
      renameDatabaseStatement(a, b),
      singleUserStatement(a, 'rollback'),
      multiUserStatement(a),
      deleteFileStatement(p),
      deleteFileStatement(p, 'xp_delete_files'),
    ]
    const plain = build('a', 'b', 'p', 'q')
    fc.assert(
      fc.property(name, name, literalPath, literalPath, (a, b, p, q) => {
        for (const [index, statement] of build(a, b, p, q).entries()) {
          expect(skeleton(statement)).toBe(skeleton(plain[index] as string))
          expect(tokens(statement).at(-1)).toEqual({ type: 'sign', value: ';' })
        }
        const values = build(a, b, p, q).map((statement) => tokens(statement).map(({ value }) => value))
        expect(values[0]).toEqual(expect.arrayContaining([a, b, p]))
        expect(values[1]).toEqual(expect.arrayContaining([a, b, p, q]))
        expect(values[7]).toEqual(expect.arrayContaining([a, b]))
      }),
      { numRuns: 300 },
    )
  })
})
