import type { CatalogEntry } from '../contracts/backup.ts'
import type { Decision } from '../contracts/policy.ts'
import type { Calendar, CalendarUnit } from './calendar.ts'
import { formatDuration } from './duration.ts'
import type { Windows } from './keep-within-options.ts'

/** One rule at work on the fulls of one call. */
interface ActiveRule {
  readonly unit: CalendarUnit | undefined
  /** Kept is what is strictly newer. */
  readonly startMs: number
  readonly length: string
  /** Buckets whose newest full was seen, with their labels. */
  readonly buckets: Map<number, string>
}

/**
 * Makes what decides about one full after the other, which must be given newest first and not be in the future.
 * Windows count back from `endMs` (epoch), the time of the newest.
 */
export function createFullDecider(
  windows: Windows,
  calendar: Calendar,
  endMs: number,
): (full: CatalogEntry) => Decision {
  const rules = windows.rules.map(
    ({ unit, window }): ActiveRule => ({
      unit,
      startMs: calendar.windowStart(endMs, window),
      length: formatDuration(window),
      buckets: new Map(),
    }),
  )
  return (full) => decideFull(rules, calendar, full)
}

function decideFull(rules: readonly ActiveRule[], calendar: Calendar, full: CatalogEntry): Decision {
  const timeMs = full.startedAt.getTime()
  const kept: string[] = []
  const passedOver: string[] = []
  for (const rule of rules) {
    // What is outside of the window cannot be the newest of a bucket for anything inside: skipping it is safe.
    if (timeMs <= rule.startMs) continue
    if (rule.unit === undefined) {
      kept.push(`within ${rule.length}`)
      continue
    }
    const bucket = calendar.bucketOf(timeMs, rule.unit)
    const known = rule.buckets.get(bucket)
    if (known === undefined) {
      const label = `${rule.unit} ${calendar.labelOf(bucket, rule.unit)}`
      rule.buckets.set(bucket, label)
      kept.push(`newest of ${label}`)
    } else {
      passedOver.push(`not the newest of ${known}`)
    }
  }
  if (kept.length > 0) return { id: full.id, keep: true, reasons: kept }
  return { id: full.id, keep: false, reasons: passedOver.length > 0 ? passedOver : ['older than every window'] }
}
