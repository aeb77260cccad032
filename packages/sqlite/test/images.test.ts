import { join } from 'node:path'
import { describe, expect } from 'vitest'
import { takeImage } from './support/images.ts'
import { createLedger, readLedger } from './support/ledger.ts'
import { test } from './support/place.ts'

const PAGE_SIZES = [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536]
const JOURNAL_MODES = ['wal', 'delete', 'truncate', 'persist'] as const
const AUTO_VACUUM = [0, 1, 2] as const

describe.each(PAGE_SIZES)('page size %i', (pageSize) => {
  test('an image of every journal mode and auto_vacuum is one commit, while rows are committed', async ({ place }) => {
    const ledgers = JOURNAL_MODES.flatMap((journalMode) =>
      AUTO_VACUUM.map((autoVacuum) => ({
        journalMode,
        autoVacuum,
        file: join(place.app, `${journalMode}-${autoVacuum}.db`),
      })),
    )
    for (const { file, ...shape } of ledgers) createLedger(file, { pageSize, ...shape })
    const writer = await place.writer({
      files: ledgers.map(({ file }) => file),
      writer: 1,
      checkpoint: 0.02,
      vacuum: 0.01,
      spill: 0.01,
      pauseMs: 5,
    })
    const seen: Record<string, number> = {}
    const check = async ({ file, journalMode, autoVacuum }: (typeof ledgers)[number]): Promise<void> => {
      const { path, facts, plain } = await takeImage(place, { file })
      const { integrity, faults, last } = readLedger(path)
      expect({ file, integrity, faults }).toEqual({ file, integrity: 'ok', faults: [] })
      expect(last[1]).toBeGreaterThan(0)
      seen[file] = last[1] as number
      expect(facts.method).toBe('single-pass')
      expect(facts.source.details).toMatchObject({
        pageSize,
        autoVacuum,
        journalMode: journalMode === 'wal' ? 'wal' : 'delete',
      })
      expect(facts.source.sizeBytes).toBe(plain.bytes)
      expect(facts.notes).toEqual(journalMode === 'wal' ? [] : [expect.stringContaining('writers had to wait')])
    }
    const left = [...ledgers]
    const lane = async (): Promise<void> => {
      for (let next = left.shift(); next; next = left.shift()) await check(next)
    }
    await Promise.all([lane(), lane(), lane()])
    const report = await writer.stop()
    expect(report.unexpected).toEqual([])
    for (const { file } of ledgers) {
      // Rows came before the image and after it: it really was taken in between.
      expect(report.last[file]).toBeGreaterThan(seen[file] as number)
      expect(readLedger(file)).toEqual({ integrity: 'ok', faults: [], last: { 1: report.last[file] } })
    }
  })
})
