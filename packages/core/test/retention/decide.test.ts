import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { CatalogEntry } from '../../src/contracts/backup.ts'
import type { Decision, RetentionPolicy } from '../../src/contracts/policy.ts'
import { BackupError } from '../../src/errors.ts'
import { decideRetention } from '../../src/retention/decide.ts'
import { keepAll } from '../../src/retention/keep-all.ts'
import { keepLast } from '../../src/retention/keep-last.ts'
import { entry, histories, kept, SEED } from './histories.ts'

const NOW = new Date('2040-01-01T00:00Z')

/** Keeps just these, and what `decideRetention` adds. */
function keepIds(ids: readonly string[]): RetentionPolicy {
  return (backups) =>
    backups.map(({ id }) => ({ id, keep: ids.includes(id), reasons: [ids.includes(id) ? 'chosen' : 'not chosen'] }))
}

/** Any choice of at least one backup. */
const choices = histories.chain((history) =>
  fc.subarray(history, { minLength: 1 }).map((chosen) => ({ history, chosen: chosen.map(({ id }) => id) })),
)

/** What one backup cannot be restored without, one question at a time and slow. */
function needs(target: CatalogEntry, all: readonly CatalogEntry[]): CatalogEntry[] {
  if (target.kind === 'full') return []
  const chain = all.filter((each) => each.chain === target.chain)
  const fulls = chain.filter(({ kind }) => kind === 'full')
  if (target.kind === 'differential') return fulls
  const before = chain.filter((each) => each.startedAt < target.startedAt && each.kind !== 'full')
  const last = before.filter(({ kind }) => kind === 'differential').at(-1)
  return [
    ...fulls,
    ...before.filter(
      (each) => last === undefined || each === last || (each.kind === 'log' && each.startedAt > last.startedAt),
    ),
  ]
}

describe('whatever a policy says, decideRetention', () => {
  it('keeps the newest full, the newest verified ones, what is on hold and what is needed, and nothing else', () => {
    let overruled = 0
    fc.assert(
      fc.property(choices, ({ history, chosen }) => {
        const fulls = history.filter(({ kind }) => kind === 'full')
        const roots = new Set<CatalogEntry | undefined>([
          fulls.at(-1),
          history.filter(({ kind, chain }) => kind !== 'full' && chain === fulls.at(-1)?.chain).at(-1),
          fulls.filter(({ verified }) => verified !== undefined).at(-1),
          fulls.filter(({ verified, failedVerification }) => verified !== undefined && !failedVerification).at(-1),
          fulls.filter(({ verified }) => verified === 'restored').at(-1),
          ...history.filter(({ held, id }) => held || chosen.includes(id)),
        ])
        roots.delete(undefined)
        const expected = new Set(
          [...roots].flatMap((root) => (root === undefined ? [] : [root, ...needs(root, history)])).map(({ id }) => id),
        )
        expect(kept(decideRetention(keepIds(chosen), history, NOW))).toEqual([...expected].sort())
        overruled += expected.size - chosen.length
      }),
      { ...SEED, numRuns: 300 },
    )
    expect(overruled).toBeGreaterThan(500)
  })

  it('gives every backup one decision with reasons, in the order of its input', () => {
    fc.assert(
      fc.property(choices, ({ history, chosen }) => {
        const decisions = decideRetention(keepIds(chosen), history, NOW)
        expect(decisions.map(({ id }) => id)).toEqual(history.map(({ id }) => id))
        expect(decisions.every(({ reasons }) => reasons.length > 0 && new Set(reasons).size === reasons.length)).toBe(
          true,
        )
        expect(decisions.filter(({ keep }) => keep).some(({ reasons }) => reasons.includes('not chosen'))).toBe(false)
      }),
      SEED,
    )
  })

  it('does not depend on the order of its input, and is idempotent', () => {
    fc.assert(
      fc.property(choices, ({ history, chosen }) => {
        const backwards = decideRetention(keepIds(chosen), [...history].reverse(), NOW)
        const decisions = decideRetention(keepIds(chosen), history, NOW)
        expect([...backwards].reverse()).toEqual(decisions)
        const rest = history.filter((_, index) => decisions[index]?.keep)
        expect(decideRetention(keepIds(chosen), rest, NOW).every(({ keep }) => keep)).toBe(true)
      }),
      SEED,
    )
  })

  it('is not disturbed by a policy that sorts, empties or changes what it was given', () => {
    const rude: RetentionPolicy = (backups, now) => {
      const decisions = keepLast(1)(backups, now)
      now.setTime(0)
      const list = backups as CatalogEntry[]
      list.reverse()
      list.length = 0
      return decisions
    }
    const history = ['2026-01-01', '2026-01-02', '2026-01-03'].map((day) => entry(day))
    const now = new Date(NOW)
    expect(decideRetention(rude, history, now)).toEqual(decideRetention(keepLast(1), history, now))
    expect(now).toEqual(NOW)
  })
})

describe('reasons of decideRetention', () => {
  const chain = 'c1'
  const history = [
    entry('2026-01-01T00:00Z', { id: 'full', chain }),
    entry('2026-01-01T01:00Z', { id: 'log1', chain, kind: 'log' }),
    entry('2026-01-01T02:00Z', { id: 'diff1', chain, kind: 'differential' }),
    entry('2026-01-01T03:00Z', { id: 'log2', chain, kind: 'log' }),
    entry('2026-01-01T04:00Z', { id: 'log3', chain, kind: 'log' }),
    entry('2026-01-01T05:00Z', { id: 'diff2', chain, kind: 'differential' }),
    entry('2026-02-01T00:00Z', { id: 'newest', chain: 'c2' }),
  ]
  const decide = (chosen: string[], entries = history): [string, boolean, ...string[]][] =>
    decideRetention(keepIds(chosen), entries, NOW).map(({ id, keep, reasons }) => [id, keep, ...reasons])

  it('name what needs a backup', () => {
    expect(decide(['log3'])).toEqual([
      ['full', true, 'needed by diff1'],
      ['log1', false, 'not chosen'],
      ['diff1', true, 'needed by log2'],
      ['log2', true, 'needed by log3'],
      ['log3', true, 'chosen'],
      ['diff2', false, 'not chosen'],
      ['newest', true, 'newest full'],
    ])
  })

  it('say that a full is removed', () => {
    expect(decide(['newest']).slice(0, 2)).toEqual([
      ['full', false, 'not chosen'],
      ['log1', false, 'not chosen', 'its full full is removed'],
    ])
  })

  it('say that a full is missing: such backups stay only when the policy wants them', () => {
    expect(decide(['log2'], history.slice(1)).slice(0, 4)).toEqual([
      ['log1', false, 'not chosen', 'its full is missing'],
      ['diff1', true, 'needed by log2', 'its full is missing'],
      ['log2', true, 'chosen', 'its full is missing'],
      ['log3', false, 'not chosen', 'its full is missing'],
    ])
  })

  it('tell holds and verifications', () => {
    const entries = [
      entry('2026-01-01', { id: 'held', held: true }),
      entry('2026-01-02', { id: 'restored', verified: 'restored' }),
      entry('2026-01-03', { id: 'decoded', verified: 'decoded' }),
      entry('2026-01-04', { id: 'half', verified: 'stored', failedVerification: true }),
      entry('2026-01-05', { id: 'newest' }),
      entry('2026-01-01', { id: 'other' }),
    ]
    expect(decide(['newest'], entries)).toEqual([
      ['held', true, 'on hold'],
      ['restored', true, 'newest full that passed a test restore'],
      ['decoded', true, 'newest verified full without a failed verification'],
      ['half', true, 'newest verified full'],
      ['newest', true, 'chosen', 'newest full'],
      ['other', false, 'not chosen'],
    ])
  })

  it('let no backup from the future take the place of the newest', () => {
    const entries = [
      entry('2026-01-01', { id: 'real' }),
      entry('2050-01-01', { id: 'future' }),
      entry('2025-01-01', { id: 'old' }),
    ]
    expect(decide(['old'], entries).map(([id, keep]) => [id, keep])).toEqual([
      ['real', true],
      ['future', true],
      ['old', true],
    ])
  })
})

describe('decideRetention refuses', () => {
  const history = [entry('2026-01-01', { id: 'a' }), entry('2026-01-02', { id: 'b' })]
  const yes = (id: string): Decision => ({ id, keep: true, reasons: ['yes'] })

  it.each<[string, unknown]>([
    ['a missing id', [yes('a')]],
    ['an unknown id', [yes('a'), yes('b'), yes('c')]],
    ['an unknown id in place of a known one', [yes('a'), yes('c')]],
    ['a duplicate', [yes('a'), yes('b'), yes('b')]],
    ['a duplicate in place of another', [yes('a'), yes('a')]],
    ['no reasons', [yes('a'), { ...yes('b'), reasons: [] }]],
    ['an empty reason', [yes('a'), { ...yes('b'), reasons: [''] }]],
    ['a reason that is no list', [yes('a'), { ...yes('b'), reasons: 'because' }]],
    ['no verdict', [yes('a'), { id: 'b', reasons: ['hm'] }]],
    ['a hole', [yes('a'), undefined]],
    ['a promise', Promise.resolve([yes('a'), yes('b')])],
    ['nothing', undefined],
  ])('an answer with %s', (_, answer) => {
    expect(() => decideRetention(() => answer as Decision[], history, NOW)).toThrow(
      expect.objectContaining({ code: 'CONTRACT_BROKEN' }),
    )
  })

  it('a policy that throws', () => {
    const cause = new TypeError('oops')
    const policy = (): never => {
      throw cause
    }
    expect(() => decideRetention(policy, history, NOW)).toThrow(
      expect.objectContaining({ code: 'CONTRACT_BROKEN', cause }),
    )
  })

  it('a policy that keeps nothing, even when something is on hold', () => {
    const held = history.map((each) => ({ ...each, held: true }))
    for (const entries of [history, held]) {
      expect(() => decideRetention(keepIds([]), entries, NOW)).toThrow(
        expect.objectContaining({ code: 'POLICY_KEEPS_NOTHING' }),
      )
    }
    expect(decideRetention(keepIds([]), [], NOW)).toEqual([])
  })

  it('dates that are none, and two backups with one id', () => {
    const invalid = expect.objectContaining({ code: 'OPTIONS_INVALID' })
    expect(() => decideRetention(keepAll(), history, new Date('nonsense'))).toThrow(invalid)
    expect(() =>
      decideRetention(keepAll(), [{ ...entry('2026-01-01'), startedAt: new Date('nonsense') }], NOW),
    ).toThrow(invalid)
    expect(() => decideRetention(keepAll(), [...history, ...history], NOW)).toThrow(invalid)
  })

  it('with errors of the one class', () => {
    expect(() => decideRetention(() => [], history, NOW)).toThrow(BackupError)
  })
})
