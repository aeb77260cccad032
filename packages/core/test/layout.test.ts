import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { assertKey, assertPrefix, isKeySegment } from '../src/index.ts'
import {
  backupPrefix,
  fileStem,
  holdKey,
  lockKey,
  manifestKey,
  meaningOf,
  memberKey,
  newBackupId,
  newChainName,
  parseBackupId,
  parseStamp,
  stamp,
  verificationKey,
} from '../src/layout.ts'

const date = fc.date({
  min: new Date('0000-01-01T00:00:00Z'),
  max: new Date('9999-12-31T23:59:59.999Z'),
  noInvalidDate: true,
})
const kind = fc.constantFrom('full' as const, 'differential' as const, 'log' as const)
const random = fc.string({ unit: fc.constantFrom(...'abz019'), minLength: 4, maxLength: 8 })

describe('names', () => {
  test('stamps tell their time and sort like it', () => {
    fc.assert(
      fc.property(date, date, (a, b) => {
        expect(parseStamp(stamp(a))).toEqual(a)
        expect(stamp(a) < stamp(b)).toBe(a < b)
      }),
    )
    for (const bad of [
      '',
      '20260230T000000000Z',
      '20261301T000000000Z',
      '20260101T240000000Z',
      '20260101T000000Z',
      '20260101T000000000',
      ' 20260101T000000000Z',
    ]) {
      expect(parseStamp(bad), bad).toBeUndefined()
    }
  })

  test('ids are taken apart into what they were made of', () => {
    fc.assert(
      fc.property(date, date, kind, random, (chainAt, startedAt, what, suffix) => {
        const chain = newChainName(chainAt, suffix)
        const id = newBackupId(chain, startedAt, what)
        expect(parseBackupId(id)).toEqual({ id, chain, kind: what, startedAt })
        expect(() => assertKey(memberKey('plan', id, `${fileStem('plan', startedAt)}.db.zst`))).not.toThrow()
        expect(meaningOf('plan', manifestKey('plan', id))).toMatchObject({ is: 'manifest', backup: { id } })
        expect(meaningOf('plan', memberKey('plan', id, 'a.db'))).toMatchObject({ is: 'member', backup: { id } })
        expect(meaningOf('plan', `${backupPrefix('plan', id)}a.db.0a.partial`)).toMatchObject({
          is: 'partial',
          backup: { id },
        })
        expect(meaningOf('plan', holdKey('plan', chain))).toEqual({ is: 'hold', chain })
        expect(meaningOf('plan', lockKey('plan', suffix))).toEqual({ is: 'lock' })
        for (const passed of [true, false]) {
          const key = verificationKey('plan', id, 'decoded', passed ? 'passed' : 'failed')
          expect(meaningOf('plan', key)).toMatchObject({ is: 'verification', level: 'decoded', passed, backup: { id } })
        }
      }),
    )
  })

  test('any text is either an id that gives itself back, or none', () => {
    const near = fc.stringMatching(/^[0-9TZ]{0,20}-?[a-z]{0,4}\/?[0-9TZ]{0,20}-?(full|log)?$/)
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), near), (text) => {
        const parsed = parseBackupId(text)
        if (parsed) expect(newBackupId(parsed.chain, parsed.startedAt, parsed.kind)).toBe(text)
        expect(() => meaningOf('plan', `plan/${text}`)).not.toThrow()
      }),
    )
  })
})

describe('keys', () => {
  const hostile = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.stringMatching(/^[a./\\ -]{0,12}$/),
    fc
      .array(fc.constantFrom('..', '.', '', 'a', 'con', 'a.b', '~', 'a\0', 'nul.txt', '-x', 'é', '%2e'), {
        maxLength: 11,
      })
      .map((parts) => parts.join('/')),
  )

  test('what is taken is safe on every file system', () => {
    fc.assert(
      fc.property(hostile, (key) => {
        let taken = true
        try {
          assertKey(key)
        } catch (error) {
          taken = false
          expect((error as { code: string }).code).toBe('KEY_INVALID')
        }
        if (!taken) return
        expect(new URL(key, 'file:///root/').pathname).toBe(`/root/${key}`)
        for (const segment of key.split('/')) {
          expect(segment).toMatch(/^[\w][\w.-]*$/)
          expect(segment).not.toMatch(/\.$|^(con|nul|aux|prn)(\.|$)/i)
        }
        for (let length = 0; length <= key.length; length++) {
          if (!/(^|\/)(con|prn|aux|nul|com\d|lpt\d)(\.[^/]*)?\/|\.\//i.test(key.slice(0, length)))
            expect(() => assertPrefix(key.slice(0, length))).not.toThrow()
        }
      }),
      { numRuns: 500 },
    )
  })

  test.each(['a', 'A_0', '_x', 'a.b-c', '0', 'console', 'a'.repeat(200)])('%s is a segment', (text) =>
    expect(isKeySegment(text)).toBe(true),
  )
  test.each(['', '.', '..', '-a', '.a', 'a/b', 'a.', 'CON', 'com1.txt', 'a'.repeat(201), 'a\n'])('%j is none', (text) =>
    expect(isKeySegment(text)).toBe(false),
  )
})
