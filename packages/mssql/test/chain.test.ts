import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { type BackupHeader, planChain } from '../src/chain.ts'
import { parseLsn } from '../src/lsn.ts'
import { noRealFiles, realFile } from './support/real-files.ts'

const unreachable = (...sentences: string[]) =>
  expect.objectContaining({
    code: 'POINT_UNREACHABLE',
    details: expect.arrayContaining(sentences.map((sentence) => expect.stringContaining(sentence))),
  })

/** A backup of a database whose LSNs are minutes after noon times 100. */
function backup(kind: BackupHeader['kind'], from: number, to: number, over: Partial<BackupHeader> = {}): BackupHeader {
  return {
    kind,
    database: 'TaskManagement',
    firstLsn: BigInt(from * 100),
    lastLsn: BigInt(to * 100),
    checkpointLsn: BigInt(from * 100),
    databaseBackupLsn: 0n,
    startedAt: clock(to),
    finishedAt: clock(to),
    files: [`${kind}-${from}-${to}`],
    set: 1,
    ...over,
  }
}
const clock = (minutes: number): string => new Date(Date.UTC(2026, 0, 31, 12, minutes)).toISOString().slice(0, 19)
const names = (plan: ReturnType<typeof planChain>): string[] =>
  [plan.full, plan.differential, ...plan.logs].flatMap((header) => header?.files ?? [])

const full = backup('full', 0, 2)
const differential = backup('differential', 20, 22, { databaseBackupLsn: full.checkpointLsn })
const logs = [backup('log', 0, 10), backup('log', 10, 20), backup('log', 20, 30), backup('log', 30, 40)]
const all = [...logs.toReversed(), differential, full]

describe('a recovery', () => {
  it('is the full, the latest differential on it, and the logs after that', () => {
    const plan = planChain(all)
    expect(names(plan)).toEqual(['full-0-2', 'differential-20-22', 'log-20-30', 'log-30-40'])
    expect(plan.reaches).toEqual({ lsn: 4000n, at: '2026-01-31T12:40:00.000' })
    expect(plan.explanations).toEqual([])
    expect(plan.stopAt).toBeUndefined()
  })

  it('to a time goes up to the log that was begun after it, and stops at it', () => {
    const plan = planChain(all, { at: '2026-01-31T12:15:30.999' })
    expect(names(plan)).toEqual(['full-0-2', 'log-0-10', 'log-10-20'])
    expect(plan.stopAt).toBe('2026-01-31T12:15:30.997')
  })

  it('does not use a backup that may hold what was committed later within the second of its end', () => {
    expect(names(planChain(all, { at: '2026-01-31T12:22:00.500' }))).toEqual([
      'full-0-2',
      'log-0-10',
      'log-10-20',
      'log-20-30',
    ])
    expect(names(planChain(all, { at: '2026-01-31T12:22:01' }))).toContain('differential-20-22')
    const exact = { ...differential, finishedAt: `${differential.finishedAt}.250` }
    expect(names(planChain([full, ...logs, exact], { at: '2026-01-31T12:22:00.500' }))).toContain('differential-20-22')
  })

  it('goes over the logs of an idle time without restoring them, and knows that nothing was missed', () => {
    const idle = [40, 50, 60].map((to) => backup('log', 40, 40, { startedAt: clock(to), files: [`idle-${to}`] }))
    const plan = planChain([...all, ...idle], { at: '2026-01-31T12:55:00' })
    expect(names(plan)).toEqual(['full-0-2', 'differential-20-22', 'log-20-30', 'log-30-40'])
    expect(planChain([...all, ...idle]).reaches.at).toBe('2026-01-31T13:00:00.000')
  })

  it('to a log record takes the log that holds it, and no data backup that goes beyond it', () => {
    expect(names(planChain(all, { lsn: 2100n }))).toEqual(['full-0-2', 'log-0-10', 'log-10-20', 'log-20-30'])
    expect(names(planChain(all, { lsn: 2200n }))).toEqual(['full-0-2', 'differential-20-22', 'log-20-30'])
    expect(planChain(all, { lsn: 3999n }).stopAtLsn).toBe(3999n)
    expect(() => planChain(all, { lsn: 4000n })).toThrow(unreachable('ends at 4000'))
  })

  it('to a marked transaction begins early enough not to miss the mark', () => {
    const mark = { mark: 'price list' }
    expect(names(planChain(all, { mark }))).toEqual(['full-0-2', ...logs.map(({ files }) => files[0])])
    expect(planChain(all, { mark }).stopAtMark).toEqual(mark)
    expect(planChain(all, { mark }).explanations).toEqual([expect.stringContaining('first mark of this name')])
    const after = planChain(all, { mark: { ...mark, after: '2026-01-31T12:25:00' } })
    expect(names(after)).toEqual(['full-0-2', 'differential-20-22', 'log-20-30', 'log-30-40'])
    expect(() => planChain([full], { mark })).toThrow(unreachable('No log backup continues full-0-2'))
  })

  it('can begin with a copy-only full, but no differential can', () => {
    const copy = { ...full, copyOnly: true }
    const plan = planChain([copy, differential, ...logs])
    expect(names(plan)).toEqual(['full-0-2', ...logs.map(({ files }) => files[0])])
    expect(plan.explanations).toEqual([
      expect.stringContaining('differential-20-22 is of no use: the full with its checkpoint LSN 0 is copy-only'),
      expect.stringContaining('full-0-2 is copy-only; logs can continue it'),
    ])
  })

  it('names a differential whose full somebody else has', () => {
    const foreign = { ...differential, databaseBackupLsn: 1500n }
    const plan = planChain([full, foreign, ...logs])
    expect(plan.differential).toBeUndefined()
    expect(plan.explanations).toEqual([expect.stringContaining('the full with the checkpoint LSN 1500, is not among')])
    const based = { ...foreign, differentialBaseLsn: full.checkpointLsn }
    expect(planChain([full, based, ...logs]).differential).toBe(based)
  })

  it('ends before a gap and names it', () => {
    const lost = [full, logs[0], logs[2], logs[3]] as BackupHeader[]
    const gap = 'the chain ends at 1000, and the next log, log-20-30, begins at 2000'
    const plan = planChain(lost)
    expect(names(plan)).toEqual(['full-0-2', 'log-0-10'])
    expect(plan.explanations).toEqual([expect.stringContaining(gap)])
    expect(() => planChain(lost, { at: '2026-01-31T12:35:00' })).toThrow(unreachable(gap))
    expect(() => planChain(lost, { lsn: 2500n })).toThrow(unreachable(gap))
    expect(names(planChain([...lost, differential], { at: '2026-01-31T12:35:00' }))).toContain('differential-20-22')
  })

  it('is refused before the first backup, after the last log, and without a full', () => {
    expect(() => planChain(all, { at: '2026-01-31T12:01:00' })).toThrow(unreachable('full-0-2, was finished at'))
    expect(() => planChain(all, { at: '2026-01-31T12:40:00.001' })).toThrow(
      unreachable('one that began later is needed'),
    )
    expect(() => planChain([full], { at: '2026-01-31T12:40:00' })).toThrow(
      unreachable('No log backup continues full-0-2'),
    )
    expect(() => planChain(logs)).toThrow(expect.objectContaining({ code: 'BACKUP_NOT_FOUND' }))
    expect(() => planChain([])).toThrow(expect.objectContaining({ code: 'BACKUP_NOT_FOUND' }))
  })

  it('cannot stop inside a log with minimally logged work, only behind it', () => {
    const bulk = [full, ...logs.map((log, index) => (index === 1 ? { ...log, hasBulkLoggedData: true } : log))]
    expect(() => planChain(bulk, { at: '2026-01-31T12:15:00' })).toThrow(unreachable('minimally logged'))
    expect(names(planChain(bulk, { at: '2026-01-31T12:25:00' }))).toHaveLength(4)
    expect(names(planChain(bulk))).toHaveLength(5)
  })

  it('takes the overlapping log that goes further, whoever made it', () => {
    const long = backup('log', 5, 30)
    expect(names(planChain([full, ...logs, long]))).toEqual(['full-0-2', 'log-0-10', 'log-5-30', 'log-30-40'])
  })

  it('refuses targets that are none', () => {
    for (const target of [{ at: 'noon' }, { at: clock(1), lsn: 1n }, { mark: { mark: 'm', after: '1.2.2026' } }])
      expect(() => planChain(all, target)).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }))
  })

  it('needs a name where there are several databases', () => {
    const other = { ...full, database: 'Other', files: ['other'] }
    expect(() => planChain([other, ...all])).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }))
    expect(names(planChain([other, ...all], { database: 'OTHER' }))).toEqual(['other'])
    expect(() => planChain([other, ...logs], { database: 'taskmanagement' })).toThrow(
      expect.objectContaining({ code: 'BACKUP_NOT_FOUND' }),
    )
  })
})

describe('recovery paths', () => {
  // Until 12:40 on path A; then restored to 12:25, and on from there as path B.
  const [a, b] = ['AAAA', 'BBBB']
  const onA = [full, ...logs].map((header) => ({ ...header, firstForkGuid: a, lastForkGuid: a }))
  const late = (minutes: number) => ({ startedAt: clock(minutes), finishedAt: clock(minutes) })
  const crossing = backup('log', 20, 28, {
    firstForkGuid: a,
    lastForkGuid: b,
    forkPointLsn: 2500n,
    ...late(60),
    files: ['crossing'],
  })
  const onB = [crossing, backup('log', 28, 50, { firstForkGuid: b, lastForkGuid: b, ...late(70) })]

  it('lead over a restore to the newest backup, without what that restore undid', () => {
    const plan = planChain([...onB, ...onA])
    expect(names(plan)).toEqual(['full-0-2', 'log-0-10', 'log-10-20', 'crossing', 'log-28-50'])
    expect(plan.explanations).toEqual([
      expect.stringContaining('2 backups are on another recovery path'),
      expect.stringContaining('restored to an earlier moment'),
    ])
  })

  it('that were given up are still the way to the times when they were in use', () => {
    expect(names(planChain([...onB, ...onA], { at: '2026-01-31T12:35:00' })).at(-1)).toBe('log-30-40')
    expect(names(planChain([...onB, ...onA], { at: '2026-01-31T13:05:00' })).at(-1)).toBe('log-28-50')
    expect(names(planChain([...onB, ...onA], { forkGuid: a })).at(-1)).toBe('log-30-40')
    expect(() => planChain(onA, { forkGuid: b })).toThrow(unreachable('no backup on the recovery path BBBB'))
  })

  it('left their parent where a log says so, or, where none does, at least not before it began', () => {
    const { forkPointLsn: _unknown, ...vague } = { ...crossing, files: ['vague'] }
    const shortBefore = backup('full', 22, 24, { firstForkGuid: a, lastForkGuid: a })
    const start = (crossings: readonly BackupHeader[]) =>
      planChain([...onA, shortBefore, ...crossings], { forkGuid: b }).full
    expect(start([crossing])).toBe(shortBefore)
    expect(start([vague])).toBe(onA[0])
    expect(start([vague, crossing])).toBe(shortBefore)
    expect(start([crossing, vague])).toBe(shortBefore)
  })

  it('are not mixed: a log of another path does not close a gap', () => {
    const [, second] = onB
    expect(() => planChain([...onA, second as BackupHeader], { at: '2026-01-31T13:05:00' })).toThrow(
      unreachable('no full backup on this recovery path', 'on another recovery path'),
    )
  })

  it('of another database of the same name are told apart by its family', () => {
    const family = (familyGuid: string, headers: readonly BackupHeader[]) =>
      headers.map((one) => ({ ...one, familyGuid }))
    const foreign = family('F2', [{ ...backup('log', 40, 60), firstForkGuid: 'CCCC', lastForkGuid: 'CCCC' }])
    const plan = planChain([...family('F1', onA), ...foreign], { forkGuid: a })
    expect(names(plan).at(-1)).toBe('log-30-40')
    expect(plan.explanations).toEqual([expect.stringContaining('1 backups are of another database of the same name')])
  })
})

describe.skipIf(noRealFiles)(`chains of dbatools' own tests${noRealFiles ? ` (${noRealFiles})` : ''}`, () => {
  it('DiffRestore: the full, the differential and the five logs after it', () => {
    const plan = planChain(chainOf('DiffRestore.json'))
    expect(plan.differential?.lastLsn).toBe(34_000_000_022_200_001n)
    expect(plan.logs).toHaveLength(5)
    expect(plan.reaches.lsn).toBe(34_000_000_028_400_001n)
  })

  it('DiffRestore without its differential: the full and all eight logs', () => {
    const plan = planChain(chainOf('DiffRestore.json').filter(({ kind }) => kind !== 'differential'))
    expect(plan.logs).toHaveLength(8)
    expect(plan.reaches.lsn).toBe(34_000_000_028_400_001n)
  })

  it('EmptyTLogData: the newer full and the one log with something in it; the empty ones are gone over', () => {
    const plan = planChain(chainOf('EmptyTLogData.json'))
    expect(plan.full.lastLsn).toBe(14_975_000_000_272_400_001n)
    expect(plan.logs.map(({ lastLsn }) => lastLsn)).toEqual([14_975_000_000_273_200_001n])
  })

  it('TLogBWFirstLastLsn: the full and the two logs that end after it', () => {
    const plan = planChain(chainOf('TLogBWFirstLastLsn.json'))
    expect(plan.logs.map(({ lastLsn }) => lastLsn)).toEqual([14_975_000_000_281_600_001n, 14_975_000_000_288_000_001n])
  })

  it('broken_chain: whole as it is; without its first log broken', () => {
    const chain = chainOf('broken_chain.json')
    expect(planChain(chain).logs).toHaveLength(2)
    const lost = chain.filter(({ kind, firstLsn }) => kind !== 'log' || firstLsn > 17_126_658_000_000_314_000_000n)
    const plan = planChain(lost)
    expect(plan.logs).toEqual([])
    expect(plan.explanations).toEqual([expect.stringContaining('the chain ends at 17126658000000314300037')])
  })
})

/** UTF-16 JSON with numbers that JavaScript cannot hold: they are made texts first. */
function chainOf(name: string): BackupHeader[] {
  const bytes = readFileSync(realFile(`chains/${name}`))
  const text = bytes.toString(bytes[0] === 0xff ? 'utf16le' : 'utf8').replace(/^\ufeff/, '')
  const rows = JSON.parse(text.replace(/:\s*(\d{10,})/g, ': "$1"')) as { readonly [column: string]: string }[]
  const kinds = { Database: 'full', 'Database Differential': 'differential', 'Transaction Log': 'log' } as const
  const time = (date = ''): string => new Date(Number(/\d+/.exec(date)?.[0])).toISOString().slice(0, 19)
  return rows.map((row) => ({
    kind: kinds[row.Type as keyof typeof kinds],
    database: row.Database ?? '',
    firstLsn: parseLsn(String(row.FirstLSN)),
    lastLsn: parseLsn(String(row.LastLSN)),
    checkpointLsn: parseLsn(String(row.CheckpointLSN)),
    databaseBackupLsn: parseLsn(String(row.DatabaseBackupLSN)),
    startedAt: time(row.BackupStartDate),
    finishedAt: time(row.BackupFinishDate),
    ...(row.RecoveryForkID && { firstForkGuid: row.FirstRecoveryForkID, lastForkGuid: row.RecoveryForkID }),
    files: [row.BackupSetGUID ?? ''],
    set: 1,
  }))
}
