import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { catalogueFolder } from '../src/backup-folder.ts'
import { planChain } from '../src/chain.ts'
import { scanFile } from '../src/mtf/index.ts'
import { hideMtf, type MtfContents, writeMtf } from './support/mtf-writer.ts'
import { noRealFiles, realFile } from './support/real-files.ts'

const FULL: MtfContents = {
  database: 'Tasks',
  kind: 'full',
  firstLsn: 100n,
  lastLsn: 200n,
  checkpointLsn: 100n,
  forkGuid: '11111111-2222-3333-4444-555555555555',
  familyGuid: 'AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE',
}
const LOG: MtfContents = { ...FULL, kind: 'log', lastLsn: 300n, databaseBackupLsn: 100n }

let folder: string
beforeEach(async () => {
  folder = await fs.mkdtemp(join(tmpdir(), 'mssql-folder-'))
})
afterEach(() => fs.rm(folder, { recursive: true, force: true }))

async function put(name: string, contents: Buffer): Promise<string> {
  const file = join(folder, name)
  await fs.mkdir(dirname(file), { recursive: true })
  await fs.writeFile(file, contents)
  return file
}

describe('catalogueFolder', () => {
  test('finds backups in all folders below, by what is in the files', async () => {
    const log = await put('a/b/nightly', writeMtf(LOG, { ...LOG, firstLsn: 300n, lastLsn: 400n }))
    const full = await put('full.BAK', writeMtf({ ...FULL, startedAt: '2026-02-03T04:05:06' }))
    await put('notes.txt', Buffer.from('TAP'))
    await put('empty', Buffer.alloc(0))
    const { backups, problems } = await catalogueFolder(folder)
    expect(problems).toEqual([])
    expect(backups.map(({ files, set, kind, lastLsn }) => [files, set, kind, lastLsn])).toEqual([
      [[log], 1, 'log', 300n],
      [[log], 2, 'log', 400n],
      [[full], 1, 'full', 200n],
    ])
    expect(backups[2]).toEqual({
      kind: 'full',
      database: 'Tasks',
      server: 'SQL1',
      firstLsn: 100n,
      lastLsn: 200n,
      checkpointLsn: 100n,
      databaseBackupLsn: 0n,
      firstForkGuid: FULL.forkGuid,
      lastForkGuid: FULL.forkGuid,
      familyGuid: FULL.familyGuid,
      startedAt: '2026-02-03T04:05:06',
      finishedAt: '2026-02-03T04:05:06',
      files: [full],
      set: 1,
    })
    expect(planChain(backups).logs.map(({ lastLsn }) => lastLsn)).toEqual([300n, 400n])
  })

  test('tells of every file that is of no use, and goes on', async () => {
    const good = await put('good.trn', writeMtf(LOG))
    const cut = await put('cut.bak', writeMtf(FULL).subarray(0, 5_000))
    const foreign = await put('foreign.dif', Buffer.from('PK\u0003\u0004'.repeat(100)))
    const empty = await put('empty.bak', Buffer.alloc(0))
    const compressed = await put('compressed', hideMtf(writeMtf({ ...FULL, data: Buffer.alloc(1 << 20) })))
    const { backups, problems } = await catalogueFolder(folder)
    expect(backups.map(({ files }) => files)).toEqual([[good]])
    expect(problems.map(({ file, code }) => [file, code])).toEqual([
      [compressed, 'CODEC_UNKNOWN'],
      [cut, 'MEMBER_DAMAGED'],
      [empty, 'MEMBER_DAMAGED'],
      [foreign, 'MEMBER_DAMAGED'],
    ])
    for (const { file, message } of problems) expect(message).toContain(file)
  })

  test('makes one backup of the stripes of a media set', async () => {
    const mediaSetGuid = '01234567-89AB-CDEF-0123-456789ABCDEF'
    const stripe = (number: number): Buffer => writeMtf({ ...FULL, mediaSetGuid, stripe: { number, of: 3 } })
    const files = await Promise.all([1, 2, 3].map((number) => put(`tasks_${number}of3.bak`, stripe(number))))
    const { backups, problems } = await catalogueFolder(folder)
    expect(problems).toEqual([])
    expect(backups.map((backup) => backup.files)).toEqual([files])
    const odd = await put('tasks_4of3.bak', writeMtf({ ...LOG, mediaSetGuid, stripe: { number: 4, of: 3 } }))
    expect(await catalogueFolder(folder)).toMatchObject({
      backups: [],
      problems: [{ file: odd, code: 'MEMBER_DAMAGED' }],
    })
  })

  test('numbers the backups that were appended to a media set of stripes (NOINIT), and recovers from them', async () => {
    const mediaSetGuid = '01234567-89AB-CDEF-0123-456789ABCDEF'
    const DIFFERENTIAL: MtfContents = { ...FULL, kind: 'differential', lastLsn: 250n, databaseBackupLsn: 100n }
    const later: MtfContents = { ...LOG, firstLsn: 300n, lastLsn: 400n }
    const sets = [FULL, DIFFERENTIAL, LOG, later]
    const files: string[] = []
    for (const number of [1, 2]) {
      const stripe = { mediaSetGuid, stripe: { number, of: 2 } }
      const [first, ...more] = sets.map((set) => ({ ...set, ...stripe }))
      if (first) files.push(await put(`${number}/tasks.bak`, writeMtf(first, ...more)))
    }
    const { backups, problems } = await catalogueFolder(folder)
    expect(problems).toEqual([])
    expect(backups.map(({ files: own, set, kind, lastLsn }) => [own, set, kind, lastLsn])).toEqual([
      [files, 1, 'full', 200n],
      [files, 2, 'differential', 250n],
      [files, 3, 'log', 300n],
      [files, 4, 'log', 400n],
    ])
    const { full, differential, logs } = planChain(backups)
    expect([full, differential, ...logs].map((backup) => backup?.set)).toEqual([1, 2, 3, 4])
    // Cut off in the last of them, a stripe is damaged; nothing of the media set can be restored without it.
    const [, second = ''] = files
    await fs.truncate(second, (await fs.readFile(second)).lastIndexOf('MSLS'))
    const cut = await catalogueFolder(folder)
    expect(cut.problems).toMatchObject([{ file: second, code: 'MEMBER_DAMAGED' }])
  })

  test('counts copies of a file once, and the one to which more was appended before the others', async () => {
    const file = writeMtf({ ...FULL, mediaSetGuid: '01234567-89AB-CDEF-0123-456789ABCDEF' }, LOG)
    const earlier = file.subarray(0, file.lastIndexOf('SSET'))
    await put('1.bak', earlier)
    const later = await put('2.bak', file)
    await put('copies/3.bak', file)
    const { backups, problems } = await catalogueFolder(folder)
    expect(problems).toEqual([])
    expect(backups.map(({ files, set }) => [files, set])).toEqual([
      [[later], 1],
      [[later], 2],
    ])
  })

  test('is not held up by links in a circle, links to nowhere and pipes', async (context) => {
    const file = await put('elsewhere/tasks.bak', writeMtf(FULL))
    await fs.mkdir(join(folder, 'in'))
    await fs.symlink(folder, join(folder, 'in', 'circle'))
    await fs.symlink(join(folder, 'nothing'), join(folder, 'in', 'nowhere.bak'))
    await fs.symlink(file, join(folder, 'in', 'linked.bak'))
    context.skip(spawnSync('mkfifo', [join(folder, 'in', 'pipe.bak')]).status !== 0, 'there is no mkfifo')
    const { backups, problems } = await catalogueFolder(join(folder, 'in'))
    expect(backups.map(({ files }) => files)).toEqual([[join(folder, 'in', 'linked.bak')]])
    expect(problems.map(({ file: bad, code }) => [bad, code])).toEqual([
      [join(folder, 'in', 'nowhere.bak'), 'SOURCE_MISSING'],
    ])
  })

  test('fails where there is no such folder, or it is a file', async () => {
    await expect(catalogueFolder(join(folder, 'none'))).rejects.toMatchObject({ code: 'SOURCE_MISSING' })
    const file = await put('full.bak', writeMtf(FULL))
    await expect(catalogueFolder(file)).rejects.toMatchObject({ code: 'SOURCE_MISSING' })
  })

  test('ends with its signal', async () => {
    await put('full.bak', writeMtf(FULL))
    const signal = AbortSignal.abort()
    await expect(catalogueFolder(folder, { signal })).rejects.toMatchObject({ code: 'ABORTED' })
    await expect(scanFile(join(folder, 'full.bak'), { signal })).rejects.toMatchObject({ code: 'ABORTED' })
  })

  test('leaves the event loop free, and tells the same whether it reads everything or headers only', async () => {
    const data = Buffer.alloc(64 << 20)
    const file = await put('large.bak', writeMtf({ ...FULL, data }))
    let turns = 0
    const count = (): void => {
      turns++
      turn = setImmediate(count)
    }
    let turn = setImmediate(count)
    const everything = await scanFile(file, { everything: true })
    clearImmediate(turn)
    expect(turns).toBeGreaterThan(60) // one for each MiB at least
    expect(everything.bytes).toBeGreaterThan(data.length)
    expect(await scanFile(file)).toEqual(everything)
    await fs.truncate(file, everything.bytes - 512)
    await expect(scanFile(file)).rejects.toMatchObject({ code: 'MEMBER_DAMAGED' })
    await fs.truncate(file, 1 << 20)
    await expect(scanFile(file)).rejects.toMatchObject({ code: 'MEMBER_DAMAGED' })
  })

  test.skipIf(noRealFiles)(
    `plans a recovery from files of a real SQL Server${noRealFiles ? ` (${noRealFiles})` : ''}`,
    async () => {
      const { backups, problems } = await catalogueFolder(realFile('2016'))
      expect(problems).toEqual([])
      const plan = planChain(backups)
      const names = [plan.full, plan.differential, ...plan.logs].map((backup) => backup?.files[0]?.split('/').at(-1))
      expect(names).toEqual([
        'RestoreTimeClean.bak',
        'RestoreTimeClean2.bak',
        'RestoreTimeClean2_1.trn',
        'RestoreTimeClean2_2.trn',
        'RestoreTimeClean2_3.trn',
      ])
      const compressed = await catalogueFolder(realFile('compressed'))
      expect(compressed).toMatchObject({ backups: [], problems: [{ code: 'CODEC_UNKNOWN' }] })
    },
  )
})
