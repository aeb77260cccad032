import { BackupError } from '@taskflow-backup/core'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { seal } from './support/mtf-fields.ts'
import { headersOf, scan, scanError } from './support/mtf-walk.ts'
import { hideMtf, type MtfContents, readMtfPayload, writeMtf } from './support/mtf-writer.ts'

const FULL: MtfContents = {
  database: 'Tasks',
  server: 'SQL1\\TASKS',
  kind: 'full',
  firstLsn: 38_000_000_018_300_165n,
  lastLsn: 38_000_000_020_000_001n,
  checkpointLsn: 38_000_000_018_300_165n,
  data: Buffer.from('pages'.repeat(1_000)),
  log: Buffer.from('log'.repeat(100)),
}
const LOG: MtfContents = {
  ...FULL,
  kind: 'log',
  firstLsn: 38_000_000_018_000_001n,
  lastLsn: 38_000_000_021_000_001n,
  databaseBackupLsn: FULL.checkpointLsn,
}

describe('a file of our own writer', () => {
  test('tells what was written into it', () => {
    const file = writeMtf({
      ...FULL,
      kind: 'differential',
      firstLsn: 4_294_967_295_429_496_729_565_535n,
      databaseBackupLsn: FULL.checkpointLsn,
      differentialBaseLsn: 38_000_000_018_300_166n,
      name: 'taskflow 🗄 01',
      user: 'DOMÄNE\\Ärger',
      mediaName: 'Médium',
      build: '16.0.4135',
      compatibilityLevel: 160,
      databaseVersion: 957,
      createdAt: '1999-12-31T23:59:59',
      startedAt: '2024-02-29T00:00:00',
      finishedAt: '2024-02-29T23:59:58',
      setGuid: '6F9619FF-8B86-D011-B42D-00C04FC964FF',
      forkGuid: '11111111-2222-3333-4444-555555555555',
      familyGuid: 'AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE',
      mediaSetGuid: '01234567-89AB-CDEF-0123-456789ABCDEF',
    })
    const { media, sets, bytes } = scan(file)
    expect(bytes).toBe(file.length)
    expect(media).toEqual({
      name: 'Médium',
      software: 'Microsoft SQL Server',
      familyId: file.readUInt32LE(52),
      sequence: 1,
      writtenAt: '2024-02-29T00:00:00',
      mediaSetGuid: '01234567-89AB-CDEF-0123-456789ABCDEF',
      single: true,
    })
    expect(sets).toEqual([
      {
        number: 1,
        name: 'taskflow 🗄 01',
        user: 'DOMÄNE\\Ärger',
        kind: 'differential',
        database: 'Tasks',
        server: 'SQL1\\TASKS',
        build: '16.0.4135',
        compatibilityLevel: 160,
        databaseVersion: 957,
        firstLsn: 4_294_967_295_429_496_729_565_535n,
        lastLsn: FULL.lastLsn,
        checkpointLsn: FULL.checkpointLsn,
        databaseBackupLsn: FULL.checkpointLsn,
        differentialBaseLsn: 38_000_000_018_300_166n,
        setGuid: '6F9619FF-8B86-D011-B42D-00C04FC964FF',
        firstForkGuid: '11111111-2222-3333-4444-555555555555',
        lastForkGuid: '11111111-2222-3333-4444-555555555555',
        familyGuid: 'AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE',
        createdAt: '1999-12-31T23:59:59',
        startedAt: '2024-02-29T00:00:00',
        finishedAt: '2024-02-29T23:59:58',
        hasChecksums: false,
        checkedStreams: 0,
        dataBytes: expect.any(Number),
      },
    ])
    expect(readMtfPayload(file)).toEqual({ data: FULL.data, log: FULL.log })
  })

  test('reads the same in pieces of any size', () => {
    const file = writeMtf({ ...FULL, checksum: true, build: '10.50.1600' }, LOG)
    const whole = scan(file)
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: 1, maxLength: 8 }), (pieces) => {
        expect(scan(file, pieces)).toEqual(whole)
      }),
      { numRuns: 50 },
    )
    expect(scan(file, [1])).toEqual(whole)
  })

  test('tells whatever was written into it', () => {
    const part = (max: number): fc.Arbitrary<bigint> => fc.integer({ min: 0, max }).map(BigInt)
    const lsn = fc
      .tuple(part(0xffff_ffff), part(0xffff_ffff), part(0xffff))
      .map(([a, b, c]) => a * 10n ** 15n + b * 10n ** 5n + c)
    const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }).filter((one) => !one.includes('\0'))
    const time = fc
      .date({ min: new Date('1990-01-01'), max: new Date('2100-01-01'), noInvalidDate: true })
      .map((date) => date.toISOString().slice(0, 19))
    const contents = fc.record({
      database: text,
      server: text,
      name: text,
      user: text,
      kind: fc.constantFrom('full', 'differential', 'log'),
      firstLsn: lsn,
      lastLsn: lsn,
      checkpointLsn: lsn,
      databaseBackupLsn: lsn,
      startedAt: time,
      finishedAt: time,
      createdAt: time,
    })
    fc.assert(
      fc.property(contents, fc.constantFrom<512 | 4096>(512, 4096), (written, sectorBytes) => {
        expect(scan(writeMtf({ ...written, sectorBytes })).sets).toMatchObject([written])
      }),
      { numRuns: 100 },
    )
  })

  test('has one set after the other, with sectors of either size', () => {
    for (const sectorBytes of [512, 4096] as const) {
      const file = writeMtf({ ...FULL, sectorBytes }, LOG, { ...LOG, firstLsn: LOG.lastLsn, name: 'last' })
      expect(file.indexOf('SSET')).toBe(sectorBytes === 512 ? 0x600 : 0x2000)
      expect(scan(file).sets.map(({ number, kind, name }) => [number, kind, name])).toEqual([
        [1, 'full', ''],
        [2, 'log', ''],
        [3, 'log', 'last'],
      ])
    }
  })

  test('tells the recovery path that a log begins on when the log crosses a fork', () => {
    const forkedFrom = { guid: '99999999-0000-0000-0000-000000000001', lsn: LOG.firstLsn + 500_000n }
    const forkGuid = '99999999-0000-0000-0000-000000000002'
    const forks = (contents: Partial<MtfContents>): unknown[] =>
      scan(writeMtf({ ...LOG, forkGuid, forkedFrom, ...contents })).sets.map((set) => [
        set.firstForkGuid,
        set.lastForkGuid,
        set.forkPointLsn,
      ])
    expect(forks({})).toEqual([[forkedFrom.guid, forkGuid, forkedFrom.lsn]])
    expect(forks({ firstLsn: forkedFrom.lsn })).toEqual([[forkGuid, forkGuid, undefined]])
  })

  test('may have zeros after its end, and nothing else', () => {
    const file = writeMtf(FULL)
    const zeros = Buffer.alloc(10_000)
    expect(scan(Buffer.concat([file, zeros])).sets).toEqual(scan(file).sets)
    zeros[9_999] = 1
    expect(scanError(Buffer.concat([file, zeros]))).toMatchObject({ code: 'MEMBER_DAMAGED' })
    expect(scanError(Buffer.concat([file, Buffer.from('x')]))).toMatchObject({ code: 'MEMBER_DAMAGED' })
    expect(scanError(Buffer.concat([file, file]))).toMatchObject({ code: 'MEMBER_DAMAGED' })
  })

  test('is recognised when the server compressed it, and its end is checked', () => {
    const file = hideMtf(writeMtf({ ...FULL, data: Buffer.alloc(200_000) }))
    const expected = { compressed: true, sets: [], bareSets: 0, bytes: file.length }
    expect(scan(file)).toEqual(expected)
    expect(scan(file, [1, 70_000, 511])).toEqual(expected)
    expect(scan(hideMtf(writeMtf({ ...FULL, sectorBytes: 4096 })))).toMatchObject({ compressed: true })
    const cuts = [0, 1, 512, 513, 1_024, 4_096, 100_000].map((bytes) => file.subarray(0, file.length - 1 - bytes))
    const holes = [1_024, 100_352].map((at) => Buffer.concat([file.subarray(0, at), file.subarray(at + 512)]))
    for (const damaged of [...cuts, ...holes, file.subarray(0, 8), Buffer.concat([file, Buffer.alloc(512)])])
      expect(scanError(damaged), String(damaged.length)).toMatchObject({ code: 'MEMBER_DAMAGED' })
  })

  test('is read as a stripe where it is one of several', () => {
    const stripe = { number: 1, of: 2 }
    expect(scan(writeMtf({ ...FULL, stripe }))).toMatchObject({ media: { single: false }, sets: [{ kind: 'full' }] })
    const { blocks } = headersOf(writeMtf({ ...FULL, stripe: { number: 2, of: 2 } }))
    const file = writeMtf({ ...FULL, stripe: { number: 2, of: 2 } })
    const bare = without(file, blocks, ['MSCI', 'MSLS'])
    expect(scan(bare)).toMatchObject({ media: { single: false }, sets: [], bareSets: 1 })
  })
})

describe('what is wrong with a file', () => {
  const file = writeMtf({ ...FULL, checksum: true, build: '10.50.1600' }, LOG)
  const { blocks, streams } = headersOf(file)

  test('every single byte of every header, changed', () => {
    const missed: string[] = []
    for (const { id, at, bytes } of [...blocks, ...streams]) {
      const copy = Buffer.from(file.subarray(0, Math.min(file.length, at + 4_096)))
      for (let byte = at; byte < at + bytes; byte++) {
        const original = copy[byte] as number
        // Which value it is changed to makes no difference to a XOR, so these stand for all 255.
        for (const mask of [0x01, 0x80, 0xff]) {
          copy[byte] = original ^ mask
          // Cut short, the file has a flaw anyway: only one in the header counts.
          if (flawedAt(copy) !== at) missed.push(`${id}+${byte - at} ^ ${mask}`)
        }
        copy[byte] = original
      }
    }
    expect(missed).toEqual([])
    expect(blocks.length + streams.length).toBeGreaterThan(50)
  })

  test('cut off at every block, every stream, every sector, and around them', () => {
    const sectors = Array.from({ length: Math.ceil(file.length / 512) }, (_, index) => index * 512)
    const places = [...blocks, ...streams].flatMap(({ at, bytes }) => [at, at + bytes]).concat(sectors)
    // The end of the first set is an end of a file as well.
    const ends = [blocks.filter(({ id }) => id === 'SSET')[1]?.at, file.length]
    const missed = places
      .flatMap((at) => [at - 1, at, at + 1])
      .filter((length) => length >= 0 && length < file.length && !ends.includes(length))
      .filter((length) => scanError(file.subarray(0, length))?.code !== 'MEMBER_DAMAGED')
    expect(missed).toEqual([])
    expect(scan(file.subarray(0, ends[0])).sets).toHaveLength(1)
  })

  // Of the two blocks ESET at the end of a set either may be alone: they hold nothing of the backup.
  const whole = ({ id }: { id: string }): boolean => id !== 'ESET'

  test('a block that is missing, whichever it is', () => {
    const missed = blocks.filter(({ at }, index) => {
      const end = blocks[index + 1]?.at ?? file.length
      return !scanError(Buffer.concat([file.subarray(0, at), file.subarray(end)]))
    })
    expect(missed.filter(whole)).toEqual([])
  })

  test('a block that comes twice', () => {
    const missed = blocks.filter(({ at }, index) => {
      const end = blocks[index + 1]?.at ?? file.length
      return !scanError(Buffer.concat([file.subarray(0, end), file.subarray(at)]))
    })
    expect(missed.filter(whole)).toEqual([])
  })

  test('two blocks that changed places, and one that stands in the place of another', () => {
    const part = (index: number): Buffer => file.subarray(blocks[index]?.at, blocks[index + 1]?.at)
    for (const index of blocks.keys()) {
      const [one, other] = [part(index), part(index + 1)]
      if (!blocks[index + 2] || (blocks[index]?.id === 'ESET' && blocks[index + 1]?.id === 'ESET')) continue
      const rest = file.subarray(blocks[index + 2]?.at)
      const swapped = Buffer.concat([file.subarray(0, blocks[index]?.at), other, one, rest])
      expect(scanError(swapped), blocks[index]?.id).toMatchObject({ code: 'MEMBER_DAMAGED' })
      if (one.length !== other.length) continue
      const doubled = Buffer.concat([file.subarray(0, blocks[index]?.at), one, one, rest])
      expect(scanError(doubled), blocks[index]?.id).toMatchObject({ code: 'MEMBER_DAMAGED' })
    }
  })

  test('every byte of data, where its checksum is of a build whose algorithm is known', () => {
    expect(scan(file).sets.map(({ checkedStreams }) => checkedStreams)).toEqual([2, 0])
    const data = streams.filter(({ id }) => id === 'MQDA')[0]?.at as number
    for (const at of [24, 25, 535, 536, 1_000, 5_000].map((offset) => data + offset)) {
      const copy = Buffer.from(file)
      copy[at] = (copy[at] as number) ^ 0x40
      expect(scanError(copy)?.message).toMatch(/data is not what the server wrote/)
    }
    const other = writeMtf({ ...FULL, checksum: true, build: '16.0.4135' })
    other[other.indexOf('pages')] = 0
    expect(scan(other).sets).toMatchObject([{ hasChecksums: true, checkedStreams: 0 }])
  })

  test('is told with the name of the file, the place, and what it is', () => {
    const copy = Buffer.from(file)
    copy[0x600 + 20] = 7
    expect(scanError(copy)?.toJSON()).toMatchObject({
      code: 'MEMBER_DAMAGED',
      message: "test.bak is no whole backup of SQL Server: the checksum of a block's header is wrong (at byte 1536).",
      details: { offset: 1536 },
    })
    expect(scanError(Buffer.alloc(0))?.message).toMatch(/empty/)
    expect(scanError(Buffer.from('SQLite format 3\0'.repeat(100)))?.message).toMatch(/neither "TAPE" nor "MSSQLBAK"/)
  })

  test('headers of a set that contradict each other', () => {
    const copy = Buffer.from(writeMtf(LOG))
    const last = copy.lastIndexOf('SCIN')
    const name = copy.readUInt16LE(last + 106)
    copy.write('X', last + name, 'utf16le')
    expect(scanError(copy)?.message).toMatch(/contradict/)
  })

  test('a kind of backup that we cannot restore', () => {
    const copy = Buffer.from(writeMtf(FULL))
    for (let at = copy.indexOf('SCIN'); at >= 0; at = copy.indexOf('SCIN', at + 1)) copy.write('F', at + 87, 'latin1')
    expect(scanError(copy)).toMatchObject({ code: 'KIND_UNSUPPORTED' })
    expect(scanError(copy)).toBeInstanceOf(BackupError)
  })
})

/** Where the flaw is that the reader finds. */
function flawedAt(file: Buffer): number | undefined {
  const { offset } = (scanError(file)?.details ?? {}) as { offset?: number }
  return offset
}

/** The file without blocks of some types, its control numbers closed up. */
function without(file: Buffer, blocks: readonly { id: string; at: number }[], ids: readonly string[]): Buffer {
  let control = 0
  const pieces = blocks.flatMap(({ id, at }, index) => {
    if (ids.includes(id)) return []
    const piece = Buffer.from(file.subarray(at, blocks[index + 1]?.at ?? file.length))
    if (!['TAPE', 'SFMB', 'ESET'].includes(id)) piece.writeUInt32LE(control++, 36)
    seal(piece, 0, 25)
    return [piece]
  })
  return Buffer.concat(pieces)
}
