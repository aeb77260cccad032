// Plans recoveries from a history of many SQL Server log backups, in order and shuffled, with and without gaps and
// restores in between.
//   pnpm --filter ./bench mssql-chain [--logs 100000]
import { parseArgs } from 'node:util'
import { type BackupHeader, type ChainTarget, planChain } from '../packages/mssql/src/chain.ts'
import { median, table } from './measure.ts'

const { values } = parseArgs({ options: { logs: { type: 'string', default: '100000' } } })
const count = Number(values.logs)
const ROUNDS = 5
const MINUTE = 60_000
const begin = Date.UTC(2026, 0, 1)
/** One log every five minutes, a full every day, a differential every six hours. */
const [PER_DAY, PER_DIFFERENTIAL] = [288, 72]
const clock = (index: number): string => new Date(begin + index * 5 * MINUTE).toISOString().slice(0, 19)
const lsn = (index: number): bigint => 39_000_000_000_000_000n + BigInt(index) * 2_400_001n

function history(restores: number): BackupHeader[] {
  const headers: BackupHeader[] = []
  const forkOf = (index: number): string => `fork-${Math.floor((index * (restores + 1)) / count)}`
  const add = (kind: BackupHeader['kind'], index: number, firstLsn: bigint, lastLsn: bigint): void => {
    const [firstForkGuid, lastForkGuid] = [
      kind === 'log' ? forkOf(Math.max(0, index - 1)) : forkOf(index),
      forkOf(index),
    ]
    headers.push({
      kind,
      database: 'TaskManagement',
      firstLsn,
      lastLsn,
      checkpointLsn: firstLsn,
      databaseBackupLsn: lsn(index - (index % PER_DAY)),
      firstForkGuid,
      lastForkGuid,
      ...(firstForkGuid !== lastForkGuid && { forkPointLsn: firstLsn + 1n }),
      startedAt: clock(index),
      finishedAt: clock(index),
      files: [`${kind}-${index}`],
      set: 1,
    })
  }
  for (let index = 0; index < count; index += 1) {
    if (index % PER_DAY === 0) add('full', index, lsn(index), lsn(index) + 10n)
    else if (index % PER_DIFFERENTIAL === 0) add('differential', index, lsn(index), lsn(index) + 10n)
    add('log', index, lsn(index), lsn(index + 1))
  }
  return headers
}

function shuffled<T>(list: readonly T[]): T[] {
  let seed = 1
  const next = (): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
    return seed
  }
  return list
    .map((item) => ({ item, key: next() }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item)
}

const plain = history(0)
const fullAtTheBegin = plain.filter(({ kind }, index) => kind === 'log' || index === 0)
const gaps = plain.filter(({ kind }, index) => kind !== 'log' || index % 1000 !== 500)
const cases: readonly (readonly [string, readonly BackupHeader[], ChainTarget])[] = [
  ['newest', plain, {}],
  ['newest, shuffled', shuffled(plain), {}],
  ['a time in the middle, shuffled', shuffled(plain), { at: clock(Math.floor(count / 2)) }],
  ['a log record, shuffled', shuffled(plain), { lsn: lsn(Math.floor(count / 3)) + 5n }],
  ['newest, one full at the begin, shuffled', shuffled(fullAtTheBegin), {}],
  ['a time, 1 in 1000 logs lost, shuffled', shuffled(gaps), { at: clock(Math.floor(count / 2)) }],
  ['a time, 100 restores in between, shuffled', shuffled(history(100)), { at: clock(Math.floor(count / 2)) }],
]
const rows = cases.map(([name, headers, target]) => {
  let logs = 0
  const times = Array.from({ length: ROUNDS }, () => {
    const started = performance.now()
    logs = planChain(headers, target).logs.length
    return performance.now() - started
  })
  return [name, headers.length, logs, median(times).toFixed(0), Math.max(...times).toFixed(0)]
})
console.log(table(['history', 'backups', 'logs in the plan', 'median ms', 'worst ms'], rows))
