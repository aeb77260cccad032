import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { scanFile } from '../src/mtf/index.ts'
import { headersOf, scan, scanError } from './support/mtf-walk.ts'
import { noRealFiles, realBackups, realFile } from './support/real-files.ts'

const KINDS: { readonly [letter: string]: string } = { D: 'full', I: 'differential', L: 'log' }

describe.skipIf(noRealFiles)(`files of real SQL Servers${noRealFiles ? ` (${noRealFiles})` : ''}`, () => {
  /** The table of the files' own page, one row for each file. */
  const rows = noRealFiles ? [] : (readFileSync(realFile('README.md'), 'utf8').match(/^\| (2008r2|2016)\/.*$/gm) ?? [])

  test('every field of every row of the table that came with them', () => {
    expect(rows).toHaveLength(16)
    expect(realBackups()).toHaveLength(16)
    for (const row of rows) {
      const [file, database, kind, build, first, last, checkpoint, base, started, size] = row
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()) as [string, ...string[]]
      const { sets, media, compressed, bytes } = scan(readFileSync(realFile(file)))
      expect(compressed).toBe(false)
      expect(bytes).toBe(readFileSync(realFile(file)).length)
      expect(media, file).toMatchObject({ software: 'Microsoft SQL Server', sequence: 1, name: '', single: true })
      expect(sets, file).toHaveLength(1)
      expect(sets[0], file).toMatchObject({
        number: 1,
        database,
        kind: KINDS[kind as string],
        build,
        firstLsn: BigInt(first as string),
        lastLsn: BigInt(last as string),
        checkpointLsn: BigInt(checkpoint as string),
        databaseBackupLsn: BigInt(base as string),
        startedAt: started?.replace(' ', 'T'),
        dataBytes: Number(size),
        compatibilityLevel: 100,
        databaseVersion: build?.startsWith('13') ? 852 : 661,
        hasChecksums: false,
      })
    }
  })

  test('what else they tell agrees from file to file', () => {
    const sets = (version: string) =>
      realBackups()
        .filter((file) => file.startsWith(version))
        .map((file) => scan(readFileSync(realFile(file))).sets[0] ?? expect.fail('no set'))
    const [older, newer] = [sets('2008r2'), sets('2016')]
    for (const one of [older, newer]) {
      const full = one.find(({ kind }) => kind === 'full')
      const differential = one.find(({ kind }) => kind === 'differential')
      expect(differential?.differentialBaseLsn).toBe(full?.checkpointLsn)
      expect(new Set(one.map(({ lastForkGuid }) => lastForkGuid)).size).toBe(1)
      expect(one.every(({ firstForkGuid, lastForkGuid }) => firstForkGuid === lastForkGuid)).toBe(true)
      expect(new Set(one.map(({ setGuid }) => setGuid)).size).toBe(8)
      expect(one.every(({ startedAt, finishedAt }) => finishedAt >= startedAt)).toBe(true)
    }
    // The newer database was restored from the older one: one family, two recovery paths.
    expect(new Set([...older, ...newer].map(({ familyGuid }) => familyGuid)).size).toBe(1)
    expect(older[0]?.lastForkGuid).toBe(older[0]?.familyGuid)
    expect(newer[0]?.lastForkGuid).not.toBe(newer[0]?.familyGuid)
  })

  test('every single byte of every header, changed, is found', () => {
    for (const file of ['2008r2/RestoreTimeClean_1.trn', '2016/RestoreTimeClean_1.trn']) {
      const whole = readFileSync(realFile(file))
      const { blocks, streams } = headersOf(whole)
      const missed: string[] = []
      for (const { id, at, bytes } of [...blocks, ...streams]) {
        for (let byte = at; byte < at + bytes; byte++) {
          const original = whole[byte] as number
          for (const mask of [0x01, 0xff]) {
            whole[byte] = original ^ mask
            if (!scanError(whole)) missed.push(`${file} ${id}+${byte - at} ^ ${mask}`)
          }
          whole[byte] = original
        }
      }
      expect(missed).toEqual([])
    }
  })

  test('cut off at every block, and before and after it, is found', () => {
    for (const file of realBackups()) {
      const whole = readFileSync(realFile(file))
      const lengths = headersOf(whole).blocks.flatMap(({ at }) => [at - 1, at, at + 1, at + 511, at + 512])
      const missed = lengths
        .filter((length) => length >= 0 && length < whole.length)
        .filter((length) => scanError(whole.subarray(0, length))?.code !== 'MEMBER_DAMAGED')
      expect(missed, file).toEqual([])
    }
  })

  test('a block that is missing is found, unless it is one of the two at the end that hold nothing', () => {
    for (const file of realBackups()) {
      const whole = readFileSync(realFile(file))
      const { blocks } = headersOf(whole)
      const missed = blocks.filter(({ id, at }, index) => {
        const end = blocks[index + 1]?.at ?? whole.length
        return id !== 'ESET' && !scanError(Buffer.concat([whole.subarray(0, at), whole.subarray(end)]))
      })
      expect(missed, file).toEqual([])
    }
  })

  test('a compressed one is recognised, and cut off or with a hole at its end it is found', async () => {
    const path = realFile('compressed/TutorialDB.bak')
    const whole = readFileSync(path)
    const expected = { compressed: true, sets: [], bareSets: 0, bytes: whole.length }
    expect(scan(whole)).toEqual(expected)
    expect(scan(whole, [1_000, 7])).toEqual(expected)
    expect(await scanFile(path)).toEqual(expected)
    for (const length of [8, 512, 1_024, whole.length / 2, whole.length - 512, whole.length - 1])
      expect(scanError(whole.subarray(0, length)), String(length)).toMatchObject({ code: 'MEMBER_DAMAGED' })
    const holed = Buffer.concat([whole.subarray(0, 4_096), whole.subarray(4_608)])
    expect(scanError(holed)).toMatchObject({ code: 'MEMBER_DAMAGED' })
  })
})
