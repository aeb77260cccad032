import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type BackupHeader, type ChainPlan, type ChainTarget, planChain } from '../src/chain.ts'
import { formatLocalTime } from '../src/server-time.ts'
import {
  type Event,
  restoreData,
  restoreLog,
  type SimulatedBackup,
  SimulatedDatabase,
  type Standing,
  sameRecords,
} from './support/history.ts'

const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('work' as const), commits: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 6, arbitrary: fc.constant({ do: 'log' as const }) },
  { weight: 2, arbitrary: fc.constant({ do: 'full' as const }) },
  { weight: 2, arbitrary: fc.constant({ do: 'differential' as const }) },
  { weight: 1, arbitrary: fc.constantFrom({ do: 'copy-only full' as const }, { do: 'copy-only log' as const }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('restore' as const), back: fc.integer({ min: 1, max: 12 }) }) },
)
/** Seed and events of a database; {@link simulate} makes it. */
const database = fc.tuple(fc.nat({ max: 1_000_000 }), fc.array(event, { minLength: 5, maxLength: 30 }))

function simulate([seed, events]: readonly [number, readonly Event[]]): SimulatedDatabase {
  const simulated = new SimulatedDatabase(seed)
  simulated.run([{ do: 'full' }, ...events])
  return simulated
}

/** For each backup whether it is lost, there once or twice; and in which order they are found. */
const fate = fc.array(fc.tuple(fc.constantFrom(0, 1, 1, 1, 1, 1, 2), fc.nat()), { minLength: 31, maxLength: 31 })

const second = 1000
const time = (text: string): number => Date.parse(`${text}Z`)
const finished = ({ header }: SimulatedBackup): number => time(header.finishedAt) + second

describe('chains of generated histories, against a search through every order of restoring', () => {
  it('reach a time if and only if some order of restoring does, and bring nothing later', () => {
    let [reached, refused] = [0, 0]
    fc.assert(
      fc.property(database, fate, fc.nat(), (given, fates, pick) => {
        const simulated = simulate(given)
        const kept = survivors(simulated.backups, fates)
        const wanted = pickTime(simulated, pick)
        const plan = planOrNothing(headersOf(kept), { at: formatLocalTime(wanted) })
        const starts = kept.filter((backup) => finished(backup) <= wanted)
        const isPossible = search(kept, starts).some((at) =>
          kept.some(
            (log) =>
              log.header.kind === 'log' && time(log.header.startedAt) >= wanted && restoreLog(at, log) !== undefined,
          ),
        )
        expect(plan !== undefined).toBe(isPossible)
        if (plan) reached += 1
        else refused += 1
        if (!plan) return
        const data = kept.find(({ header }) => header === (plan.differential ?? plan.full)) as SimulatedBackup
        for (const { time: at } of data.lineage) expect(at).toBeLessThanOrEqual(wanted)
        expect(carryOut(plan, kept).lsn).toBe(plan.reaches.lsn)
      }),
      { numRuns: 1500 },
    )
    expect(Math.min(reached, refused)).toBeGreaterThan(200)
  })

  it('bring back exactly what was there at a time, when nothing is lost', () => {
    let compared = 0
    fc.assert(
      fc.property(database, fc.nat(), (given, pick) => {
        const simulated = simulate(given)
        const wanted = pickTime(simulated, pick)
        const state = simulated.states.findLast((one) => one.time <= wanted)
        const isRecorded = simulated.backups.some(
          ({ header }) =>
            header.kind === 'log' && header.lastForkGuid === state?.fork && time(header.startedAt) >= wanted,
        )
        const plan = planOrNothing(headersOf(simulated.backups), { at: formatLocalTime(wanted) })
        // What a restore undid before any backup of it was made is lost.
        if (!plan || !isRecorded) return
        const { content } = carryOut(plan, simulated.backups)
        const stop = content.findIndex((record) => record.time > wanted)
        const restored = stop < 0 ? content : content.slice(0, stop)
        expect(restored.map(({ id }) => id)).toEqual(state?.lineage.map(({ id }) => id))
        compared += 1
      }),
      { numRuns: 1000 },
    )
    expect(compared).toBeGreaterThan(200)
  })

  it('go as far as any order of restoring on the newest path, and to any log record on it', () => {
    fc.assert(
      fc.property(database, fate, fc.nat(), (given, fates, pick) => {
        const simulated = simulate(given)
        const kept = survivors(simulated.backups, fates)
        const newest = kept.reduce<SimulatedBackup | undefined>(
          (a, b) => (a && time(a.header.finishedAt) >= time(b.header.finishedAt) ? a : b),
          undefined,
        )
        if (!newest) return
        const forkGuid = newest.header.lastForkGuid ?? ''
        const latest = planOrNothing(headersOf(kept), { forkGuid })
        if (!latest) return
        const end = carryOut(latest, kept)
        expect(planOrNothing(headersOf(kept), {})?.reaches).toEqual(latest.reaches)
        const onPath = kept.filter(({ header }) => header.lastForkGuid === forkGuid)
        for (const at of search(kept, kept))
          if (onPath.some(({ lineage }) => sameRecords(lineage, at.content))) expect(at.lsn <= end.lsn).toBe(true)
        const record = end.content[pick % end.content.length]
        if (!record) return
        const plan = planOrNothing(headersOf(kept), { lsn: record.lsn, forkGuid })
        const data = latest.differential ?? latest.full
        if (plan) expect(carryOut(plan, kept).content.map(({ id }) => id)).toContain(record.id)
        else expect(record.lsn < data.lastLsn).toBe(true)
      }),
      { numRuns: 700 },
    )
  })

  it('can be restored also where only the path at the end of each backup is known', () => {
    fc.assert(
      fc.property(database, fate, fc.nat(), (given, fates, pick) => {
        const simulated = simulate(given)
        const bare = survivors(simulated.backups, fates).map((backup) => {
          const { firstForkGuid: _first, forkPointLsn: _point, ...header } = backup.header
          return { ...backup, header }
        })
        for (const target of [{}, { at: formatLocalTime(pickTime(simulated, pick)) }]) {
          const plan = planOrNothing(headersOf(bare), target)
          if (plan) expect(carryOut(plan, bare).lsn).toBe(plan.reaches.lsn)
        }
      }),
      { numRuns: 700 },
    )
  })
})

const headersOf = (backups: readonly SimulatedBackup[]): BackupHeader[] => backups.map(({ header }) => header)

function survivors(
  backups: readonly SimulatedBackup[],
  fates: readonly (readonly [number, number])[],
): SimulatedBackup[] {
  return backups
    .flatMap((backup, index) => {
      const [copies, order] = fates[index] ?? [1, 0]
      return Array.from({ length: copies }, () => ({ backup, order }))
    })
    .sort((a, b) => a.order - b.order)
    .map(({ backup }) => backup)
}

function pickTime({ states }: SimulatedDatabase, pick: number): number {
  const [first = 0, last = 0] = [states[0]?.time, states.at(-1)?.time]
  return first + (pick % (last - first + 120_000))
}

/** Undefined where the target cannot be reached; other errors are failures of the test. */
function planOrNothing(headers: readonly BackupHeader[], target: ChainTarget): ChainPlan | undefined {
  try {
    return planChain(headers, target)
  } catch (thrown) {
    const { code, message } = thrown as { code: string; message: string }
    if (code !== 'POINT_UNREACHABLE' && code !== 'BACKUP_NOT_FOUND') throw thrown
    expect(message.length).toBeGreaterThan(40)
    return undefined
  }
}

/** Everywhere that a database can be brought to with these backups, beginning with some of them. */
function search(backups: readonly SimulatedBackup[], starts: readonly SimulatedBackup[]): Standing[] {
  const logs = backups.filter(({ header }) => header.kind === 'log')
  const found = new Map<string, Standing>()
  const visit = (at: Standing): void => {
    const key = `${at.lsn} ${at.content.at(-1)?.id}`
    if (found.has(key)) return
    found.set(key, at)
    for (const log of logs) {
      const next = restoreLog(at, log)
      if (next) visit(next)
    }
  }
  for (const start of starts) {
    const isUsable =
      start.header.kind === 'differential' ? backups.some((one) => one === start.base) : start.header.kind === 'full'
    if (isUsable) visit(restoreData(start))
  }
  return [...found.values()]
}

/** Restores what a plan says, as the server would; fails where the server would refuse, and where a log brings nothing. */
function carryOut(plan: ChainPlan, backups: readonly SimulatedBackup[]): Standing {
  const find = (header: BackupHeader) => backups.find((backup) => backup.header === header) as SimulatedBackup
  const differential = plan.differential && find(plan.differential)
  if (differential) expect(differential.base?.header.checkpointLsn).toBe(plan.full.checkpointLsn)
  expect(plan.differential === undefined || !plan.full.copyOnly).toBe(true)
  let at = restoreData(differential ?? find(plan.full))
  for (const header of plan.logs) {
    const next = restoreLog(at, find(header))
    expect(next, `${header.files} fits`).toBeDefined()
    expect((next as Standing).lsn > at.lsn).toBe(true)
    at = next as Standing
  }
  return at
}
