import { BackupError } from '@taskflow-backup/core'
import { parseLsn } from '../lsn.ts'
import type { LogMark } from '../marks.ts'
import { floorToDatetime, formatLocalTime, type OffsetSample, parseLocalTime, stopTime } from '../server-time.ts'
import type { RestoreStatement } from '../statements/restore.ts'
import type { Step } from './roll.ts'
import type { StopPoint } from './stop-point.ts'

/** What tells the server where to stop. */
export type Stop = Pick<RestoreStatement, 'stopAt' | 'stopAtMark' | 'stopBeforeMark' | 'stopAtLsn' | 'stopBeforeLsn'>

/** Where to stop in the backup of an index; `undefined` for one that is restored as a whole. */
export type Stops = (index: number, onWarning: (message: string) => void) => Stop | undefined

type Point<Kind extends StopPoint['kind']> = Extract<StopPoint, { readonly kind: Kind }>

/**
 * Works out where each backup is to be stopped in, from the manifests alone.
 *
 * @throws `POINT_UNREACHABLE` when these backups do not lead there
 */
export function planStops(steps: readonly Step[], point: StopPoint | undefined): Stops {
  switch (point?.kind) {
    case undefined:
      return () => undefined
    case 'time':
      return stopsAtTime(steps, point)
    case 'lsn':
      return stopsAtLsn(steps, point)
    case 'mark':
      return stopsAtMark(steps, point)
  }
}

/** For messages. */
export function describeStop(point: StopPoint): string {
  if (point.kind === 'time') return point.at.toISOString()
  return point.kind === 'lsn' ? `the log sequence number ${point.lsn}` : `the mark ${JSON.stringify(point.mark)}`
}

const isLog = (step: Step | undefined): step is Step => step?.backup.manifest.kind === 'log'

const OLDER_HINT =
  'Give `id`, of the log that holds it or of a later one of its chain: without it the newest chain is used, from its latest differential on.'

function stopsAtTime(steps: readonly Step[], { at }: Point<'time'>): Stops {
  refuseBulk(steps.at(-1))
  // Every log has one: also one that ends before the moment may hold what was committed after it, while it was being
  // backed up.
  return (index, onWarning) => {
    const [before, own] = [steps[index - 1], steps[index]]
    // Of a log with bulk changes the server refuses any stop.
    if (!before || !isLog(own) || own.details.bulkLogged) return undefined
    const [earlier, later] = [clockAfter(before), clockAfter(own)]
    if (at.getTime() >= later.at) {
      // All that it held at its end is wanted, whatever the clock showed: the later of the two times leaves nothing out.
      const whole = earlier.offsetMinutes > later.offsetMinutes ? earlier : later
      return { stopAt: stopTime(at.getTime(), whole, whole).stopAt }
    }
    const { stopAt, isExact } = stopTime(at.getTime(), earlier, later)
    if (!isExact)
      onWarning(
        'The clock of the server was changed within the log that holds the moment: the restore may stop up to that change too early.',
      )
    return { stopAt }
  }
}

const clockAfter = ({ backup, details }: Step): OffsetSample => ({
  at: Date.parse(backup.manifest.consistentAt),
  offsetMinutes: details.utcOffsetMinutesAfter,
})

function stopsAtLsn(steps: readonly Step[], point: Point<'lsn'>): Stops {
  const { lsn, before } = point
  const start = steps.findLast(({ backup }) => backup.manifest.kind !== 'log')
  if (start && lsn < parseLsn(start.details.lastLsn))
    throw unreachable(
      `${describeStop(point)} is before the end of ${start.backup.manifest.id}, with which the restore begins.`,
      OLDER_HINT,
    )
  const holder = steps.findIndex((step) => isLog(step) && lsn < parseLsn(step.details.lastLsn))
  if (holder < 0)
    throw unreachable(
      `${describeStop(point)} is after the last backup, ${steps.at(-1)?.backup.manifest.id}, which ends before ${steps.at(-1)?.details.lastLsn}.`,
      'Make a log backup, or give a log sequence number that is in one.',
    )
  refuseBulk(steps[holder])
  return fromOn(holder, () => (before ? { stopBeforeLsn: lsn } : { stopAtLsn: lsn }))
}

/** A mark, and the log that holds it. */
interface Found extends LogMark {
  readonly index: number
  /** Milliseconds since 1970, UTC. */
  readonly moment: number
}

function stopsAtMark(steps: readonly Step[], point: Point<'mark'>): Stops {
  const { mark, after, before } = point
  const all = steps.flatMap(({ details }, index) =>
    (details.marks ?? []).map((one): Found => ({ ...one, index, moment: momentOf(one, details) })),
  )
  const same = all.filter(({ name }) => name === mark)
  const wanted = same.filter(({ moment }) => after === undefined || moment >= after.getTime())
  const [first, second] = wanted
  const option = before ? 'stopBeforeMark' : 'stopAtMark'
  if (first && second && after === undefined)
    throw unreachable(
      `There is more than one transaction with ${describeStop(point)}: ${listed(same)}.`,
      'Give `to.after`, a time after which there is only one, or the first one is meant.',
    )
  if (first) {
    refuseBulk(steps[first.index])
    // Within its log it may not be the first one of that name.
    const isFirst = same.find(({ index }) => index === first.index) === first
    return fromOn(first.index, () => ({ [option]: { mark, ...(!isFirst && { after: first.at }) } }))
  }
  const logs = steps.filter(isLog)
  if (logs.every(({ details }) => details.marks)) {
    const known = all.length === 0 ? 'They hold no marks' : `They hold ${listed(all)}`
    const late = same.length > 0 ? ` at ${after?.toISOString()} or later` : ''
    throw unreachable(`No log backup of this chain holds ${describeStop(point)}${late}. ${known}.`, OLDER_HINT)
  }
  // Some manifests do not tell their marks: the server looks for it in every log.
  return fromOn(0, (index) => {
    const own = steps[index]
    if (!isLog(own) || own.details.bulkLogged) return undefined
    const local =
      after && formatLocalTime(floorToDatetime(after.getTime() + own.details.utcOffsetMinutesAfter * 60_000))
    return { [option]: { mark, ...(local !== undefined && { after: local }) } }
  })
}

/**
 * The logs after the one that is known to hold the point have the stop as well: the server leaves the database
 * restoring where it does not find it.
 */
const fromOn =
  (holder: number, stop: (index: number) => Stop | undefined): Stops =>
  (index) =>
    index < holder ? undefined : stop(index)

/** In the hour in which clocks are changed, the time after the change is taken. */
const momentOf = ({ at }: LogMark, { utcOffsetMinutesAfter }: Step['details']): number =>
  parseLocalTime(at) - utcOffsetMinutesAfter * 60_000

const MOST_LISTED = 10

function listed(marks: readonly Found[]): string {
  const shown = marks
    .slice(-MOST_LISTED)
    .map(({ name, moment }) => `${JSON.stringify(name)} of ${new Date(moment).toISOString()}`)
  const more = marks.length - shown.length
  return `${shown.join(', ')}${more > 0 ? `, and ${more} before` : ''}`
}

function refuseBulk(step: Step | undefined): void {
  if (!step?.details.bulkLogged) return
  throw unreachable(
    `${step.backup.manifest.id} has changes that were logged in bulk: no restore can stop inside it.`,
    'Restore to the end of that log, or of the one before, by their ids.',
  )
}

const unreachable = (message: string, hint: string): BackupError =>
  new BackupError('POINT_UNREACHABLE', message, { hint })
