import Database from 'better-sqlite3'
import { describe, expect, vi } from 'vitest'
import { takeImage } from './support/images.ts'
import { createLedger, type LedgerShape, readLedger } from './support/ledger.ts'
import { test } from './support/place.ts'

vi.setConfig({ testTimeout: 900_000 })

/** Images in a row; together there are more than forty. */
const CASES: (LedgerShape & { images: number })[] = [
  { pageSize: 4096, journalMode: 'wal', images: 24 },
  { pageSize: 512, journalMode: 'wal', autoVacuum: 1, images: 8 },
  { pageSize: 65_536, journalMode: 'wal', autoVacuum: 2, images: 8 },
  { pageSize: 4096, journalMode: 'delete', images: 8 },
]

const WRITERS = [1, 2] as const

describe('two processes write at full speed', () => {
  test.for(CASES)('and every image is one commit: %j', async ({ images, ...shape }, { place }) => {
    createLedger(place.file, shape)
    const orders = { files: [place.file], checkpoint: 0.01, vacuum: 0.001, spill: 0.02 }
    const writers = await Promise.all(WRITERS.map((writer) => place.writer({ ...orders, writer })))
    let before: Readonly<Record<number, number>> = {}
    for (let i = 0; i < images; i++) {
      const moved = () => WRITERS.every((writer) => committedBy(writer, place.file) > (before[writer] ?? 0))
      await expect.poll(moved).toBe(true) // both write all the time
      const begun = WRITERS.map((writer) => committedBy(writer, place.file))
      const { path, facts } = await takeImage(place)
      expect(facts.method).toBe('single-pass')
      const { integrity, faults, last } = readLedger(path)
      expect({ image: i, integrity, faults }).toEqual({ image: i, integrity: 'ok', faults: [] })
      for (const [at, writer] of WRITERS.entries()) expect(last[writer]).toBeGreaterThanOrEqual(begun[at] as number)
      before = last
    }
    const reports = await Promise.all(writers.map((writer) => writer.stop()))
    expect(reports.flatMap(({ unexpected }) => unexpected)).toEqual([])
    const committed = Object.fromEntries(reports.map(({ last }, i) => [i + 1, last[place.file]]))
    expect(readLedger(place.file)).toEqual({ integrity: 'ok', faults: [], last: committed })
  })
})

/** How many transactions of a writer are in the live database. */
function committedBy(writer: number, file: string): number {
  const database = new Database(file, { readonly: true, timeout: 120_000 })
  try {
    return database.prepare('SELECT n FROM total WHERE writer = ?').pluck().get(writer) as number
  } finally {
    database.close()
  }
}
