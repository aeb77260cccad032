import { isAbsolute, resolve } from 'node:path'
import { BackupError, type RestoreRequest } from '@taskflow-backup/core'
import type { CheckedOptions } from '../options.ts'
import { parseLsn } from '../position.ts'
import type { RecoveryGoal } from '../server/settings.ts'

// A type, not an interface: those are no `JsonValue`, which `to` is.
/** What `to` of a restore takes besides the path of the new data directory. */
export type PhysicalTarget = {
  /** New data directory: a path that does not exist, or an empty folder. */
  readonly dataDirectory: string
  /** New places of tablespaces by their oid: empty or new folders. Default: a folder beside the data directory. */
  readonly tablespaces?: { readonly [oid: string]: string }
  /** Up to where, inside the log backups. Not together with `at`. Default: to their end. */
  readonly recoverTo?: { readonly lsn: string } | { readonly restorePoint: string } | { readonly transaction: string }
  /** The timeline to follow, or the newest one known. Default: that of the last backup. */
  readonly timeline?: number | 'latest'
  /**
   * False lays everything ready and starts nothing: for a machine without PostgreSQL's server programs. A finding has
   * the command. Default: true.
   */
  readonly recover?: boolean
  /**
   * True leaves a server running on the restored data directory, for a look at it beside the live server. It has a
   * socket in a folder of its own beside the data directory and listens on nothing else; a finding tells how to connect
   * and how to stop it. It goes on when this process ends. Default: false.
   */
  readonly start?: boolean
}

/** Where a restore goes, and up to where it recovers. */
export interface CheckedTarget {
  /** Absent for a scratch place. */
  readonly dataDirectory?: string
  /** The data directory of the live server is to be replaced. */
  readonly isLive: boolean
  /** What is there may be replaced. */
  readonly overwrite: boolean
  readonly tablespaces: { readonly [oid: string]: string }
  readonly goal: RecoveryGoal
  readonly timeline: number | 'latest' | undefined
  readonly recover: boolean
  readonly start: boolean
}

const KNOWN = ['dataDirectory', 'tablespaces', 'recoverTo', 'timeline', 'recover', 'start']

/** @throws `TARGET_INVALID` naming what is wrong; nothing has been touched */
export function checkTarget(options: CheckedOptions, { target, at }: RestoreRequest): CheckedTarget {
  const goal: RecoveryGoal = at ? { kind: 'time', at } : { kind: 'latest' }
  const plain = { tablespaces: {}, goal, timeline: undefined, recover: true, start: false }
  const known = options.physical.dataDirectory
  if (target.kind === 'scratch') return { ...plain, isLive: false, overwrite: false }
  if (target.kind === 'live') {
    if (known === undefined) {
      throw new BackupError('TARGET_INVALID', 'The data directory of the live server is not known.', {
        hint: 'Give it as `physical.dataDirectory`, or restore to a new one with `to`.',
      })
    }
    return { ...plain, dataDirectory: known, isLive: true, overwrite: true }
  }
  const given = typeof target.to === 'string' ? { dataDirectory: target.to } : (target.to as unknown)
  const { dataDirectory, recoverTo, timeline, recover = true, start = false, tablespaces = {} } = checkShape(given)
  if (recoverTo && at) throw invalid('`to.recoverTo` and `at` exclude each other')
  const path = resolve(dataDirectory)
  return {
    dataDirectory: path,
    isLive: known !== undefined && path === known,
    overwrite: target.overwrite,
    tablespaces,
    goal: recoverTo ? toGoal(recoverTo) : goal,
    timeline,
    recover,
    start,
  }
}

function checkShape(given: unknown): PhysicalTarget {
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw invalid('it must be the path of a data directory, or an object')
  const unknown = Object.keys(given).find((name) => !KNOWN.includes(name))
  if (unknown !== undefined) throw invalid(`\`to.${unknown}\` is not known`)
  const { dataDirectory, tablespaces = {}, timeline, recover, start, recoverTo } = given as PhysicalTarget
  checkPath('to.dataDirectory', dataDirectory)
  if (typeof tablespaces !== 'object' || tablespaces === null) throw invalid('`to.tablespaces` must be an object')
  for (const [oid, path] of Object.entries(tablespaces)) {
    if (!/^[1-9]\d{0,9}$/.test(oid)) throw invalid(`\`to.tablespaces\` has ${JSON.stringify(oid)}, which is no oid`)
    checkPath(`to.tablespaces.${oid}`, path)
    if (!isAbsolute(path)) throw invalid(`\`to.tablespaces.${oid}\` must be an absolute path`)
  }
  if (timeline !== undefined && timeline !== 'latest' && !(Number.isInteger(timeline) && timeline > 0))
    throw invalid('`to.timeline` must be a number or "latest"')
  if (recover !== undefined && typeof recover !== 'boolean') throw invalid('`to.recover` must be true or false')
  if (start !== undefined && typeof start !== 'boolean') throw invalid('`to.start` must be true or false')
  if (start && recover === false) throw invalid('`to.start` needs a cluster that is recovered: leave `to.recover` away')
  if (recoverTo !== undefined) toGoal(recoverTo)
  return given as PhysicalTarget
}

function toGoal(given: NonNullable<PhysicalTarget['recoverTo']>): RecoveryGoal {
  const entries = Object.entries(given ?? {})
  const [[name, value] = []] = entries
  if (entries.length === 1 && typeof value === 'string') {
    if (name === 'lsn' && /^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/i.test(value)) return { kind: 'lsn', lsn: parseLsn(value) }
    // The server keeps names of restore points up to this length.
    if (name === 'restorePoint' && value !== '' && Buffer.byteLength(value) < 64 && !/[\0\n\r]/.test(value))
      return { kind: 'restorePoint', name: value }
    if (name === 'transaction' && /^\d{1,20}$/.test(value)) return { kind: 'transaction', id: value }
  }
  throw invalid(
    "`to.recoverTo` must be { lsn: '1A/2B3C4D5E' }, { restorePoint: 'its name' } or { transaction: '1234' }",
  )
}

function checkPath(name: string, path: unknown): void {
  if (typeof path !== 'string' || path === '' || /[\0\n\r]/.test(path)) throw invalid(`\`${name}\` must be a path`)
}

const invalid = (why: string): BackupError =>
  new BackupError('TARGET_INVALID', `The place to restore to is bad: ${why}.`)
