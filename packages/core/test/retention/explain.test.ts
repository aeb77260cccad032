import { describe, expect, it } from 'vitest'
import { decideRetention } from '../../src/retention/decide.ts'
import { explainRetention } from '../../src/retention/explain.ts'
import { keepLast } from '../../src/retention/keep-last.ts'
import { entry } from './histories.ts'

const MIB = 1024 ** 2
const entries = [
  entry('2026-11-20T02:00Z', { id: 'c1/full', chain: 'c1', storedBytes: 3 * MIB }),
  entry('2026-11-20T03:00Z', { id: 'c1/log', chain: 'c1', kind: 'log', storedBytes: MIB / 2 }),
  entry('2026-11-21T02:00Z', { id: 'chain2/full', chain: 'chain2', held: true }),
  entry('2026-11-22T02:00Z', { id: 'c3/full', chain: 'c3' }),
  entry('2026-11-22T03:00Z', { id: 'c3/log', chain: 'c3', kind: 'log' }),
]
const decisions = decideRetention(keepLast(1), entries, new Date('2026-11-22T04:00Z'))

const lines = `\
remove  c1/full      not among the newest 1
remove  c1/log       its full is not kept; its full c1/full is removed
keep    chain2/full  on hold
keep    c3/full      number 1 of the newest 1; newest full
keep    c3/log       its full is kept; newest of the newest chain
`

describe('explainRetention', () => {
  it('gives a line per backup and a summary', () => {
    expect(explainRetention(decisions, entries)).toBe(
      `${lines}Keeps 3 of 5 backups (2 fulls, 1 log) and removes 2 (1 full, 1 log); frees 3.5 MiB.\n`,
    )
  })

  it('does without the entries', () => {
    expect(explainRetention(decisions)).toBe(`${lines}Keeps 3 of 5 backups and removes 2.\n`)
  })

  it('gives no sum when entries are missing', () => {
    expect(explainRetention(decisions, entries.slice(1))).not.toContain('frees')
  })

  it('says when all stay, and when there are none', () => {
    expect(explainRetention(decisions.slice(3, 4), entries)).toMatch(
      /\nKeeps 1 of 1 backup \(1 full\) and removes none\.\n$/,
    )
    expect(explainRetention([])).toBe('There are no backups to decide about.\n')
  })

  it.each([
    [0, '0 bytes'],
    [1023, '1023 bytes'],
    [1024, '1.0 KiB'],
    [5.25 * 1024 ** 4, '5.3 TiB'],
  ])('writes %d bytes as %s', (storedBytes, text) => {
    const removed = [{ id: 'c1/full', keep: false, reasons: ['old'] }]
    expect(explainRetention(removed, [entry('2026-01-01', { id: 'c1/full', storedBytes })])).toContain(`frees ${text}.`)
  })
})
