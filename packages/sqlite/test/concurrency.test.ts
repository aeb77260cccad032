import { describe, expect } from 'vitest'
import { takeImage } from './support/images.ts'
import { createLedger, type LedgerShape, readLedger } from './support/ledger.ts'
import { test } from './support/place.ts'

/** Images in a row; together there are more than forty. */
const CASES: (LedgerShape & { images: number })[] = [
  { pageSize: 4096, journalMode: 'wal', images: 24 },
  { pageSize: 512, journalMode: 'wal', autoVacuum: 1, images: 8 },
  { pageSize: 65_536, journalMode: 'wal', autoVacuum: 2, images: 8 },
  { pageSize: 4096, journalMode: 'delete', images: 8 },
]

describe('two processes write at full speed', () => {
  test.for(CASES)('and every image is one commit: %j', async ({ images, ...shape }, { place }) => {
    createLedger(place.file, shape)
    const orders = { files: [place.file], checkpoint: 0.01, vacuum: 0.001, spill: 0.02 }
    const writers = await Promise.all([1, 2].map((writer) => place.writer({ ...orders, writer })))
    let before: Readonly<Record<number, number>> = {}
    let moved = 0
    for (let i = 0; i < images; i++) {
      const { path, facts } = await takeImage(place)
      expect(facts.method).toBe('single-pass')
      const { integrity, faults, last } = readLedger(path)
      expect({ image: i, integrity, faults }).toEqual({ image: i, integrity: 'ok', faults: [] })
      for (const writer of [1, 2]) {
        expect(last[writer] ?? 0).toBeGreaterThanOrEqual(before[writer] ?? 0) // time does not run backwards
        if ((last[writer] ?? 0) > (before[writer] ?? 0)) moved++
      }
      before = last
    }
    const reports = await Promise.all(writers.map((writer) => writer.stop()))
    expect(reports.flatMap(({ unexpected }) => unexpected)).toEqual([])
    expect(moved).toBeGreaterThan(images) // both wrote all the time
    const committed = Object.fromEntries(reports.map(({ last }, i) => [i + 1, last[place.file]]))
    expect(readLedger(place.file)).toEqual({ integrity: 'ok', faults: [], last: committed })
  })
})
