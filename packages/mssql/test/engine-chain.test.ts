import * as fs from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { recoverStatement } from '../src/statements/restore.ts'
import { isoText } from './support/engine/clock.ts'
import { useBench } from './support/engine/use-bench.ts'

const bench = useBench({ timeZoneOffsetMinutes: 120 })
const { must, errorsOf, historyOf, restored } = bench

const now = (): string => isoText(bench.fake.clock.localMs)

/** full(1) log(1 2) diff(1 2 3) log2(3 4) log3(5), and the time between 3 and 4. */
async function makeChain(): Promise<{ readonly between: string }> {
  bench.insert(1)
  await must(bench.backup('full', 'full'))
  bench.insert(2)
  await must(bench.backup('log', 'log1'))
  bench.insert(3)
  await must(bench.backup('differential', 'diff'))
  const between = now()
  bench.insert(4)
  await must(bench.backup('log', 'log2'))
  bench.insert(5)
  await must(bench.backup('log', 'log3'))
  return { between }
}

describe('fake SQL Server: its chains', () => {
  test('every way through a chain leads to the same rows', async () => {
    await makeChain()
    const { restore } = bench
    const full = restore('database', 'full')
    const [log1, log2, log3] = ['log1', 'log2', 'log3'].map((name) => restore('log', name)) as [string, string, string]
    expect(await restored(full)).toEqual([1])
    const again = restore('database', 'full', { replace: true })
    expect(await restored(again, log1)).toEqual([1, 2])
    expect(await restored(again, restore('database', 'diff'))).toEqual([1, 2, 3])
    expect(await restored(again, restore('database', 'diff'), log2, log3)).toEqual([1, 2, 3, 4, 5])
    expect(await restored(again, log1, log2, log3)).toEqual([1, 2, 3, 4, 5])
    expect(bench.fake.rows('app')).toEqual([1, 2, 3, 4, 5])
  })

  test('the LSNs are those of a real chain', async () => {
    await makeChain()
    const [full, log1, diff, log2, log3] = await Promise.all(['full', 'log1', 'diff', 'log2', 'log3'].map(historyOf))
    expect(full?.databaseBackupLsn).toBe('0')
    expect(log1?.firstLsn).toBe(full?.firstLsn)
    expect(log2?.firstLsn).toBe(log1?.lastLsn)
    expect(log3?.firstLsn).toBe(log2?.lastLsn)
    expect(diff).toMatchObject({ databaseBackupLsn: full?.checkpointLsn, differentialBaseLsn: full?.checkpointLsn })
    expect(BigInt(full?.lastLsn ?? 0)).toBeGreaterThan(BigInt(Number.MAX_SAFE_INTEGER))
    expect([full?.type, log1?.type, diff?.type, full?.timeZone]).toEqual(['D', 'L', 'I', 8])
  })

  test('stops at a time: the row before it is there, the one after it not', async () => {
    const { between } = await makeChain()
    const { restore } = bench
    const steps = [restore('database', 'full'), restore('log', 'log1'), restore('log', 'log2', { stopAt: between })]
    expect(await restored(...steps)).toEqual([1, 2, 3])
  })

  test('an hour that comes twice: the log stops where it first was later', async () => {
    await must(bench.backup('full', 'full'))
    bench.insert('summer')
    const stopAt = now()
    bench.insert('later in summer')
    bench.fake.clock.utcOffsetMinutes = 60
    bench.insert('winter, earlier by the clock')
    await must(bench.backup('log', 'log'))
    expect(Date.parse(now())).toBeLessThan(Date.parse(stopAt))
    expect(await restored(bench.restore('database', 'full'), bench.restore('log', 'log', { stopAt }))).toEqual([
      'summer',
    ])
    expect((await historyOf('log')).timeZone).toBe(4)
  })

  test('a time that has not come in the log leaves the database restoring, even WITH RECOVERY', async () => {
    await makeChain()
    const { restore } = bench
    await must(restore('database', 'full'))
    const { info } = await must(restore('log', 'log1', { stopAt: now(), recovery: 'recovery' }))
    expect(info).toContain(4322)
    expect(bench.fake.databases()).toContainEqual({ name: 'copy', state: 'RESTORING', access: 'MULTI_USER' })
    expect(await restored(restore('log', 'log2', { stopAt: now() }))).toEqual([1, 2, 3, 4])
  })

  test('stops at and before a marked transaction', async () => {
    await must(bench.backup('full', 'full'))
    bench.insert('before')
    bench.fake.mark('app', 'release', 'released')
    bench.insert('after')
    await must(bench.backup('log', 'log'))
    const { restore } = bench
    const full = restore('database', 'full', { replace: true })
    expect(await restored(full, restore('log', 'log', { stopAtMark: { mark: 'release' } }))).toEqual([
      'before',
      'released',
    ])
    expect(await restored(full, restore('log', 'log', { stopBeforeMark: { mark: 'release' } }))).toEqual(['before'])
    const [{ lsn = 0n } = {}] = bench.fake.engine.history.marks
    expect(await restored(full, restore('log', 'log', { stopAtLsn: lsn }))).toEqual(['before', 'released'])
    const after = { mark: 'release', after: now() }
    const { info } = await must(full).then(() => must(restore('log', 'log', { stopAtMark: after })))
    expect(info).not.toContain(4329) // WITH NORECOVERY nothing is amiss
    expect((await must(restore('log', 'log', { stopAtMark: after, recovery: 'recovery' }))).info).toContain(4329)
  })

  test('what does not fit is refused, with the cause before 3013', async () => {
    const { between } = await makeChain()
    const { restore } = bench
    const log = (name: string, stopAt?: string) => restore('log', name, { ...(stopAt !== undefined && { stopAt }) })
    expect(await errorsOf(log('log1'))).toEqual([3118, 3013])
    expect(await errorsOf(log('full'))).toEqual([3135, 3013])
    expect(await errorsOf(restore('database', 'full', { fileNumber: 2 }))).toEqual([4038, 3013])
    await must(restore('database', 'full'))
    expect(await errorsOf(log('log2'))).toEqual([4305, 3013])
    expect(await errorsOf(log('log1', '2020-01-01T00:00:00'))).toEqual([4335, 3013])
    await must(restore('database', 'diff'))
    expect(await errorsOf(log('log1'))).toEqual([4326, 3013])
    expect(await errorsOf(log('log2', isoText(Date.parse(`${between}Z`) - 3000)))).toEqual([4335, 3013])
    await must(recoverStatement('copy'))
    expect(await errorsOf(log('log2'))).toEqual([3159, 3013])
    expect(await errorsOf(restore('database', 'diff'))).toEqual([3117, 3013])
    expect(await errorsOf(recoverStatement('copy'))).toEqual([3153, 3013])
    const tooEarly = restore('database', 'full', { replace: true, stopAt: '2020-01-01T00:00:00' })
    expect(await errorsOf(tooEarly)).toEqual([4338, 3013])
  })

  test('a differential fits its own full only, and a copy-only full is no base', async () => {
    await must(bench.backup('full', 'full'))
    await must(bench.backup('full', 'copyOnly', { copyOnly: true }))
    bench.insert(1)
    await must(bench.backup('differential', 'diff'))
    await must(bench.backup('full', 'newer'))
    const { restore } = bench
    for (const wrong of ['copyOnly', 'newer']) {
      await must(restore('database', wrong, { replace: true }))
      expect(await errorsOf(restore('database', 'diff'))).toEqual([3136, 3013])
    }
    expect(await restored(restore('database', 'full', { replace: true }), restore('database', 'diff'))).toEqual([1])
  })

  test('a copy-only log leaves the chain as it was', async () => {
    await must(bench.backup('full', 'full'))
    bench.insert(1)
    await must(bench.backup('log', 'aside', { copyOnly: true }))
    await must(bench.backup('log', 'log'))
    expect((await historyOf('log')).firstLsn).toBe((await historyOf('aside')).firstLsn)
    expect(await restored(bench.restore('database', 'full'), bench.restore('log', 'log'))).toEqual([1])
  })

  test('after a recovery the log is on another path', async () => {
    await must(bench.backup('full', 'full'))
    bench.insert(1)
    const stopAt = now()
    bench.insert('lost')
    await must(bench.backup('log', 'log1'))
    bench.insert('lost too')
    await must(bench.backup('log', 'old'))
    const { restore } = bench
    const over = { database: 'app', moves: [], replace: true } as const
    await must(restore('database', 'full', over))
    await must(restore('log', 'log1', { database: 'app', stopAt }))
    await must(recoverStatement('app'))
    bench.insert('new')
    bench.insert('newer')
    await must(bench.backup('log', 'new'))
    const [log1, fork] = [await historyOf('log1'), await historyOf('new')]
    expect(fork.firstForkGuid).toBe(log1.lastForkGuid)
    expect(fork.lastForkGuid).not.toBe(log1.lastForkGuid)
    expect(fork.forkPointLsn).toBe(fork.firstLsn)
    await must(restore('database', 'full'))
    await must(restore('log', 'log1'))
    expect(await errorsOf(restore('log', 'new'))).toEqual([4330, 3013])
    const again = [restore('database', 'full', { replace: true }), restore('log', 'log1', { stopAt })]
    expect(await restored(...again, restore('log', 'new'))).toEqual([1, 'new', 'newer'])
  })

  test('a deletion comes back, and goes again with the log', async () => {
    bench.insert('kept')
    bench.insert('deleted')
    await must(bench.backup('full', 'full'))
    bench.fake.engine.databases.find('app')?.delete((row) => row === 'deleted', bench.fake.clock.localMs)
    await must(bench.backup('log', 'log'))
    expect(await restored(bench.restore('database', 'full'))).toEqual(['kept', 'deleted'])
    const full = bench.restore('database', 'full', { replace: true })
    expect(await restored(full, bench.restore('log', 'log'))).toEqual(['kept'])
  })

  test('a full holds what is written while it is made', async () => {
    bench.fake.engine.stepMs = 20
    const making = must(bench.backup('full', 'full'))
    await expect.poll(() => fs.readdir(bench.folder)).toEqual(['full'])
    bench.insert('meanwhile')
    await making
    expect(await restored(bench.restore('database', 'full'))).toEqual(['meanwhile'])
  })
})
