import { BackupError } from '../errors.ts'

/**
 * A length of time by the calendar: a month is as long as the month it falls into, a day lasts from a time of day to
 * the same time of the next. Only `hours` are exact. Whole numbers from 0; what is absent is 0.
 */
export interface CalendarDuration {
  readonly years?: number
  readonly months?: number
  readonly weeks?: number
  readonly days?: number
  readonly hours?: number
}

/** `'12h'`, `'30d'`, `'4w'`, `'6mo'`, `'1y'`, several of them from long to short as in `'1y6mo'`, or an object. */
export type DurationInput = string | CalendarDuration

/** A duration that was checked: every unit is there, and at least one is not 0. */
export type ParsedDuration = Required<CalendarDuration>

const UNITS = ['years', 'months', 'weeks', 'days', 'hours'] as const
const SUFFIXES = { years: 'y', months: 'mo', weeks: 'w', days: 'd', hours: 'h' } as const
const HOURS = { years: 8766, months: 730.5, weeks: 168, days: 24, hours: 1 } as const
const PATTERN = /^(?:(\d+)y)?(?:(\d+)mo)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?$/
// More than that leaves the years that a calendar is made for, and is a slip of the finger.
const MAX_YEARS = 1000

/**
 * Reads a duration. `name` is what error messages call it; default `'duration'`.
 *
 * @throws `OPTIONS_INVALID` when it is malformed, zero, negative, fractional, or longer than 1000 years
 *
 * @example
 * ```ts
 * import { parseDuration } from '@taskflow-backup/core'
 *
 * console.log(parseDuration('6mo')) // { years: 0, months: 6, weeks: 0, days: 0, hours: 0 }
 * ```
 */
export function parseDuration(input: DurationInput, name = 'duration'): ParsedDuration {
  const duration = typeof input === 'string' ? fromText(input, name) : fromObject(input, name)
  const hours = approximateHours(duration)
  if (hours === 0) throw invalid(name, 'is zero', input)
  if (hours > MAX_YEARS * HOURS.years) throw invalid(name, `is longer than ${MAX_YEARS} years`, input)
  return duration
}

/** The shortest text that {@link parseDuration} reads back: `'30d'`, `'1y6mo'`. */
export function formatDuration(duration: CalendarDuration): string {
  return UNITS.map((unit) => (duration[unit] ? `${duration[unit]}${SUFFIXES[unit]}` : '')).join('')
}

/** Length in hours with months and years of average length. For comparing durations, not for dates. */
export function approximateHours(duration: CalendarDuration): number {
  return UNITS.reduce((sum, unit) => sum + (duration[unit] ?? 0) * HOURS[unit], 0)
}

function fromText(text: string, name: string): ParsedDuration {
  const match = PATTERN.exec(text)
  if (match === null || text === '') {
    // Elsewhere `m` is minutes or months; a guess here could delete years of backups.
    const ambiguous = /\dm(?!o)/.test(text)
    throw invalid(name, ambiguous ? 'has the unit `m`; months are `mo`' : 'is not a duration', text)
  }
  const [years, months, weeks, days, hours] = match.slice(1).map((digits) => Number(digits ?? 0))
  return { years: years ?? 0, months: months ?? 0, weeks: weeks ?? 0, days: days ?? 0, hours: hours ?? 0 }
}

function fromObject(input: CalendarDuration, name: string): ParsedDuration {
  if (typeof input !== 'object' || input === null || Array.isArray(input))
    throw invalid(name, 'is not a duration', input)
  for (const key of Object.keys(input)) {
    if (!UNITS.some((unit) => unit === key)) throw invalid(name, `has an unknown unit \`${key}\``, input)
  }
  const whole = (unit: (typeof UNITS)[number]): number => {
    const value = input[unit] ?? 0
    if (!Number.isInteger(value) || value < 0) throw invalid(name, `needs a whole number of ${unit} from 0`, input)
    return value
  }
  return {
    years: whole('years'),
    months: whole('months'),
    weeks: whole('weeks'),
    days: whole('days'),
    hours: whole('hours'),
  }
}

function invalid(name: string, fault: string, input: unknown): BackupError {
  return new BackupError('OPTIONS_INVALID', `${name} ${fault}: ${show(input)}.`, {
    hint: "Write a duration like '12h', '30d', '4w', '6mo', '1y' or '1y6mo', or { years, months, weeks, days, hours }.",
  })
}

function show(input: unknown): string {
  try {
    return JSON.stringify(input) ?? String(input)
  } catch {
    return typeof input
  }
}
