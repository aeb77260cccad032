import { BackupError } from '@taskflow-backup/core'
import { formatLsn, parseLsn, type WalPosition } from '../position.ts'

/** An ancestor of the current timeline, and the place at which it was left. */
export interface Ancestor {
  readonly timeline: number
  readonly leftAt: bigint
}

/**
 * Reads a timeline history file: for each ancestor a line with its number, the place at which it was left, and a reason.
 *
 * @throws `SERVER_FAILED` for anything else
 */
export function parseHistory(text: string): Ancestor[] {
  const ancestors: Ancestor[] = []
  for (const line of text.split('\n')) {
    if (/^\s*(#.*)?$/.test(line)) continue
    const found = /^\s*(\d{1,10})\s+([0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8})(\s|$)/.exec(line)
    const last = ancestors.at(-1)
    const ancestor = found && { timeline: Number(found[1]), leftAt: parseLsn(found[2] as string) }
    if (!ancestor || (last && (ancestor.timeline <= last.timeline || ancestor.leftAt < last.leftAt)))
      throw new BackupError('SERVER_FAILED', `The history of a timeline has a bad line: ${JSON.stringify(line)}`)
    ancestors.push(ancestor)
  }
  return ancestors
}

/** As it is kept in the details of a manifest. */
export const historyDetails = (history: readonly Ancestor[]): [number, string][] =>
  history.map(({ timeline, leftAt }) => [timeline, formatLsn(leftAt)])

/** The opposite of {@link historyDetails}; `undefined` for what is none. */
export function parseHistoryDetails(details: unknown): Ancestor[] | undefined {
  if (!Array.isArray(details)) return undefined
  try {
    return details.map(([timeline, leftAt]) => ({ timeline: Number(timeline), leftAt: parseLsn(String(leftAt)) }))
  } catch {
    return undefined
  }
}

/** Why a place does not lie on a history; `undefined` when it does. */
export function whyNotOn(place: WalPosition, history: readonly Ancestor[], current: number): string | undefined {
  if (place.timeline === current) return undefined
  const ancestor = history.find(({ timeline }) => timeline === place.timeline)
  if (!ancestor) return `timeline ${place.timeline} is not in the history of timeline ${current}`
  if (ancestor.leftAt < place.lsn)
    return `timeline ${place.timeline} was left at ${formatLsn(ancestor.leftAt)}, before ${formatLsn(place.lsn)}`
  return undefined
}

/**
 * Why a backup that ends at `place` is not part of a history; `undefined` when it is. Restores give the number of a
 * timeline more than once, so the places at which its ancestors were left have to be the same as well: `ancestors` are
 * those in the details of the backup.
 */
export function whyApart(
  place: WalPosition,
  ancestors: unknown,
  history: readonly Ancestor[],
  current: number,
): string | undefined {
  const reason = whyNotOn(place, history, current)
  if (reason !== undefined) return reason
  for (const { timeline, leftAt } of parseHistoryDetails(ancestors) ?? []) {
    const here = history.find((ancestor) => ancestor.timeline === timeline)
    if (here?.leftAt === leftAt) continue
    const where = here ? formatLsn(here.leftAt) : 'no known place'
    return `timeline ${place.timeline} is another one of that number: timeline ${timeline} was left at ${where}, not at ${formatLsn(leftAt)}`
  }
  return undefined
}

/** A part of the log that lies on one timeline. */
export interface WalSpan {
  readonly timeline: number
  readonly begin: bigint
  readonly end: bigint
}

/** The parts of the log from `begin` to `end`, timeline after timeline; at least one, if only an empty one. */
export function spansBetween(begin: WalPosition, end: WalPosition, history: readonly Ancestor[]): WalSpan[] {
  const spans: WalSpan[] = []
  let at = begin.lsn
  for (const { timeline, leftAt } of history) {
    if (timeline < begin.timeline || leftAt <= at) continue
    spans.push({ timeline, begin: at, end: leftAt })
    at = leftAt
  }
  if (end.lsn > at || spans.length === 0) spans.push({ timeline: end.timeline, begin: at, end: end.lsn })
  return spans
}
