import { BackupError } from '../errors.ts'
import type { CalendarUnit } from './calendar.ts'
import { checkOptionNames } from './check-options.ts'
import { approximateHours, type ParsedDuration, parseDuration } from './duration.ts'
import type { KeepWithinOptions } from './keep-within.ts'

/** The checked options of `keepWithin`. */
export interface Windows {
  /** Rules for fulls, finest first. Without `unit`: every full within the window. */
  readonly rules: readonly { readonly unit?: CalendarUnit; readonly window: ParsedDuration }[]
  readonly logs: ParsedDuration
  readonly differentials: ParsedDuration
  readonly timeZone: string
}

const RULES = [
  ['all', undefined],
  ['hourly', 'hour'],
  ['daily', 'day'],
  ['weekly', 'week'],
  ['monthly', 'month'],
  ['yearly', 'year'],
] as const

/**
 * Checks the options of `keepWithin` and fills in what is left out.
 *
 * @throws `OPTIONS_INVALID`
 */
export function readWindows(options: KeepWithinOptions): Windows {
  const allowed = [...RULES.map(([name]) => name), 'logs', 'differentials', 'timeZone']
  checkOptionNames(options, allowed, 'keepWithin')
  const rules = RULES.flatMap(([name, unit]) => {
    const input = options[name]
    if (input === undefined) return []
    const window = parseDuration(input, `keepWithin ${name}`)
    return [unit === undefined ? { window } : { unit, window }]
  })
  if (rules.length === 0) {
    throw new BackupError('OPTIONS_INVALID', 'keepWithin has no rule that keeps full backups.', {
      hint: 'Give at least one of all, hourly, daily, weekly, monthly and yearly.',
    })
  }
  // Without a daily window the longest one: a policy that says nothing about logs must not lose them early.
  const byDefault =
    options.daily === undefined
      ? rules.map((rule) => rule.window).reduce((a, b) => (approximateHours(b) > approximateHours(a) ? b : a))
      : parseDuration(options.daily)
  const { logs, differentials, timeZone = 'UTC' } = options
  return {
    rules,
    logs: logs === undefined ? byDefault : parseDuration(logs, 'keepWithin logs'),
    differentials: differentials === undefined ? byDefault : parseDuration(differentials, 'keepWithin differentials'),
    timeZone,
  }
}
