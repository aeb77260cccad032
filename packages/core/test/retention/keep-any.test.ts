import { describe, expect, it } from 'vitest'
import type { RetentionPolicy } from '../../src/contracts/policy.ts'
import { keepAny } from '../../src/retention/keep-any.ts'
import { keepLast } from '../../src/retention/keep-last.ts'
import { keepWithin } from '../../src/retention/keep-within.ts'
import { entry } from './histories.ts'

const NOW = new Date('2026-12-01T00:00Z')
const fulls = ['2026-09-01', '2026-10-01', '2026-11-01'].map((day) => entry(day))

describe('keepAny', () => {
  it('keeps what any policy keeps and merges reasons', () => {
    const policy = keepAny(keepLast(1), keepWithin({ monthly: '40d' }), keepLast(1))
    expect(policy(fulls, NOW).map(({ keep, reasons }) => [keep, ...reasons])).toEqual([
      [false, 'not among the newest 1', 'older than every window'],
      [true, 'newest of month 2026-10'],
      [true, 'number 1 of the newest 1', 'newest of month 2026-11'],
    ])
  })

  it('takes the answers of a policy in any order', () => {
    const backwards: RetentionPolicy = (backups, now) => [...keepLast(2)(backups, now)].reverse()
    expect(keepAny(backwards)(fulls, NOW)).toEqual(keepLast(2)(fulls, NOW))
  })

  it('refuses to be empty, and what is no policy', () => {
    const invalid = expect.objectContaining({ code: 'OPTIONS_INVALID' })
    expect(() => keepAny()).toThrow(invalid)
    expect(() => keepAny(keepLast(1), undefined as unknown as RetentionPolicy)).toThrow(invalid)
  })

  it('does not hide that one of its policies is broken', () => {
    expect(() => keepAny(keepLast(1), () => [])(fulls, NOW)).toThrow(
      expect.objectContaining({ code: 'CONTRACT_BROKEN' }),
    )
  })
})
