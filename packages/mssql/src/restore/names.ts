import { MAX_NAME } from '../statements/quote.ts'

// Names of the databases that restores make. The id at their end is that of the work they belong to, which holds the
// application lock of that id for as long as it lives.

const STAGING = /^([\s\S]+)_taskflow_restore_([a-z0-9]{12})$/
const KEPT = /^([\s\S]+)_taskflow_before_(\d{8}T\d{6}Z)_([a-z0-9]{12})$/

/** Patterns for LIKE with `!` as escape: every name of ours, and some that are not. */
export const STAGING_PATTERN = '%!_taskflow!_restore!_%'
export const KEPT_PATTERN = '%!_taskflow!_before!_%'

/** A database that is being restored. */
export const stagingName = (target: string, workId: string): string => withEnding(target, `_taskflow_restore_${workId}`)

/** Under this name a database is kept that was replaced. */
export function keptDatabaseName(target: string, at: Date, workId: string): string {
  const stamp = at.toISOString().replace(/[-:]|\.\d+/g, '')
  return withEnding(target, `_taskflow_before_${stamp}_${workId}`)
}

/** What the name of a database of ours tells. */
export interface OwnName {
  readonly name: string
  readonly workId: string
  /** Begin of the name of the database that it was made for. */
  readonly stem: string
  /** The name may have been longer than `stem`. */
  readonly isCut: boolean
}

export function parseStagingName(name: string): OwnName | undefined {
  const [, stem, workId] = STAGING.exec(name) ?? []
  return stem === undefined || workId === undefined ? undefined : toOwnName(name, stem, workId)
}

/** The name of a database that was replaced. */
export interface KeptName extends OwnName {
  /** When, to the second; milliseconds since 1970. */
  readonly keptAt: number
}

export function parseKeptName(name: string): KeptName | undefined {
  const [, stem, stamp, workId] = KEPT.exec(name) ?? []
  if (stem === undefined || stamp === undefined || workId === undefined) return undefined
  const keptAt = Date.parse(stamp.replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5'))
  return Number.isNaN(keptAt) ? undefined : { ...toOwnName(name, stem, workId), keptAt }
}

// Half a surrogate pair less is cut away as well.
const toOwnName = (name: string, stem: string, workId: string): OwnName => ({
  name,
  stem,
  workId,
  isCut: name.length >= MAX_NAME - 1,
})

/** `name`, cut at a whole character where need be, and `ending`: no longer than the server allows. */
function withEnding(name: string, ending: string): string {
  const cut = name.slice(0, MAX_NAME - ending.length)
  return (/[\ud800-\udbff]$/.test(cut) ? cut.slice(0, -1) : cut) + ending
}

/** Whether the server takes it for the name of a database of a user. */
export function isDatabaseName(name: unknown): name is string {
  if (typeof name !== 'string' || name.length < 1 || name.length > MAX_NAME) return false
  // What T-SQL cannot say, and blanks at the end, which the server does not tell apart.
  return !name.includes('\0') && !/\\\r?\n/.test(name) && !/\s$/.test(name)
}

export const isSystemDatabase = (name: string): boolean =>
  ['master', 'model', 'msdb', 'tempdb', 'distribution', 'mssqlsystemresource'].includes(name.toLowerCase())
