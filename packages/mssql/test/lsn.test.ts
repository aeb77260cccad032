import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { comparePositions, formatLsn, formatPosition, lsnFromParts, parseLsn } from '../src/lsn.ts'

const anyLsn = fc.bigInt({ min: 0n, max: 10n ** 25n - 1n })

describe('log sequence numbers', () => {
  it('keep every digit that a JavaScript number would lose', () => {
    expect(formatLsn(parseLsn('38000000018300165'))).toBe('38000000018300165')
    expect(formatLsn(parseLsn('17126658000000314200037'))).toBe('17126658000000314200037')
  })

  it('are put together from the parts in a backup file as SQL Server writes them', () => {
    expect(lsnFromParts(25, 62, 170)).toBe(25_000_000_006_200_170n)
    expect(lsnFromParts(0xffff_ffff, 0xffff_ffff, 0xffff)).toBe(4_294_967_295_429_496_729_565_535n)
  })

  it('come back from their text, and order as numbers', () => {
    fc.assert(
      fc.property(anyLsn, anyLsn, (a, b) => {
        expect(parseLsn(formatLsn(a))).toBe(a)
        expect(parseLsn(formatPosition(a))).toBe(a)
        expect(formatPosition(a)).toHaveLength(25)
        expect(comparePositions(formatPosition(a), formatPosition(b))).toBe(a < b ? -1 : a > b ? 1 : 0)
        expect(formatPosition(a) < formatPosition(b)).toBe(a < b)
      }),
    )
  })

  it.each(['', ' 1', '-1', '1.0', '1e3', '0x1', '١', '1'.repeat(26), undefined as unknown as string])(
    'refuse %j',
    (text) => {
      expect(() => parseLsn(text)).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }))
    },
  )

  it('refuse parts and numbers out of range', () => {
    for (const [file, block, slot] of [
      [-1, 0, 0],
      [0, 2 ** 32, 0],
      [0, 0, 65_536],
      [0.5, 0, 0],
    ] as const)
      expect(() => lsnFromParts(file, block, slot)).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }))
    expect(() => formatLsn(-1n)).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }))
    expect(() => formatLsn(10n ** 25n)).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }))
  })
})
