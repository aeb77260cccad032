import fc from 'fast-check'
import type { BackupKind, CatalogEntry, VerificationLevel } from '../../src/contracts/backup.ts'
import type { Decision, RetentionPolicy } from '../../src/contracts/policy.ts'
import type { CalendarDuration } from '../../src/retention/duration.ts'
import { type KeepWithinOptions, keepWithin } from '../../src/retention/keep-within.ts'

export const HOUR_MS = 3_600_000
export const DAY_MS = 24 * HOUR_MS
/** The same cases in every run. */
export const SEED = { seed: 20261122 }
export const ZONES = [
  'UTC',
  'Europe/Berlin',
  'America/Sao_Paulo',
  'Pacific/Apia',
  'Africa/Casablanca',
  'Australia/Lord_Howe',
  'Asia/Kathmandu',
  'America/St_Johns',
] as const

export const zones = fc.constantFrom(...ZONES)

/** A full in a chain of its own, unless told otherwise. */
export function entry(startedAt: Date | string, overrides: Partial<CatalogEntry> = {}): CatalogEntry {
  const date = new Date(startedAt)
  const kind = overrides.kind ?? 'full'
  const chain = overrides.chain ?? `c${date.toISOString()}`
  return {
    id: `${chain}/${date.toISOString()}-${kind}`,
    chain,
    kind,
    startedAt: date,
    storedBytes: 1000,
    destinations: ['disk'],
    failedVerification: false,
    held: false,
    ...overrides,
  }
}

export function kept(decisions: readonly Decision[]): string[] {
  return decisions
    .filter((decision) => decision.keep)
    .map(({ id }) => id)
    .sort()
}

interface Step {
  readonly gapMs: number
  readonly kind: BackupKind
  readonly verified: VerificationLevel | undefined
  readonly failed: boolean
  readonly held: boolean
}

const gaps = fc.oneof(
  fc.integer({ min: 1, max: 90 }).map((minutes) => minutes * 60_000),
  fc.integer({ min: 1, max: 40 }).map((hours) => hours * HOUR_MS),
  fc.integer({ min: 1, max: 12 }).map((days) => days * DAY_MS),
)

const steps: fc.Arbitrary<Step> = fc.record({
  gapMs: gaps,
  kind: fc.constantFrom<BackupKind>('full', 'full', 'full', 'log', 'log', 'differential'),
  verified: fc.constantFrom<(VerificationLevel | undefined)[]>(
    undefined,
    undefined,
    undefined,
    'stored',
    'decoded',
    'restored',
  ),
  failed: fc.integer({ max: 9, min: 0 }).map((n) => n === 0),
  held: fc.integer({ max: 14, min: 0 }).map((n) => n === 0),
})

/** Begins close to changes of clocks, ends of months and of years. */
const begins = fc.oneof(
  fc.date({ min: new Date('2009-01-01'), max: new Date('2027-01-01'), noInvalidDate: true }),
  fc
    .constantFrom(
      '2023-01-28T12:00Z',
      '2025-10-25T20:00Z',
      '2019-02-15T12:00Z',
      '2011-12-28T09:00Z',
      '2025-04-05T06:00Z',
    )
    .map((s) => new Date(s)),
)

/** Backups as an app makes them, oldest first: what is no full continues the newest chain. */
export const histories: fc.Arbitrary<CatalogEntry[]> = fc
  .tuple(begins, fc.array(steps, { minLength: 1, maxLength: 40, size: 'max' }))
  .map(([begin, list]) => toEntries(begin, list))

function toEntries(begin: Date, list: readonly Step[]): CatalogEntry[] {
  let timeMs = Math.floor(begin.getTime() / 60_000) * 60_000
  let chain: string | undefined
  const held = new Set<string>()
  const entries = list.map((step) => {
    timeMs += step.gapMs
    const kind = chain === undefined ? 'full' : step.kind
    if (kind === 'full' || chain === undefined) chain = `c${new Date(timeMs).toISOString()}`
    if (step.held) held.add(chain)
    const verified = step.verified === undefined ? {} : { verified: step.verified }
    return entry(new Date(timeMs), { chain, kind, failedVerification: step.failed, ...verified })
  })
  return entries.map((each) => (held.has(each.chain) ? { ...each, held: true } : each))
}

export const durations: fc.Arbitrary<CalendarDuration> = fc
  .record(
    {
      years: fc.integer({ min: 0, max: 1 }),
      months: fc.integer({ min: 0, max: 3 }),
      weeks: fc.integer({ min: 0, max: 6 }),
      days: fc.integer({ min: 0, max: 40 }),
      hours: fc.integer({ min: 0, max: 50 }),
    },
    { requiredKeys: [] },
  )
  .filter((duration) => Object.values(duration).some((value) => value > 0))

/** Of one unit, so that most are short enough for something to fall out of them. */
const windows: fc.Arbitrary<CalendarDuration> = fc.oneof(
  fc.integer({ min: 1, max: 50 }).map((hours) => ({ hours })),
  fc.integer({ min: 1, max: 31 }).map((days) => ({ days })),
  fc.integer({ min: 1, max: 3 }).map((months) => ({ months })),
)

const rules = fc.constantFrom('all', 'hourly', 'daily', 'weekly', 'monthly', 'yearly', 'logs', 'differentials')

const keepWithinOptions: fc.Arbitrary<KeepWithinOptions> = fc
  .tuple(
    fc.constantFrom('hourly', 'daily', 'daily', 'weekly', 'monthly', 'yearly'),
    windows,
    fc.array(fc.tuple(rules, windows), { maxLength: 3 }),
    zones,
  )
  .map(([rule, window, more, timeZone]) => ({ ...Object.fromEntries([...more, [rule, window]]), timeZone }))

export const keepWithinPolicies: fc.Arbitrary<RetentionPolicy> = keepWithinOptions.map(keepWithin)
