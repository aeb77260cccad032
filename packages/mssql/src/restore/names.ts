import { MAX_NAME } from '../statements/quote.ts'

// Names of the databases that restores make. The id at their end is that of the work they belong to, which holds the
// application lock of that id for as long as it lives.

const STAGING = /^([\s\S]+)_taskflow_restore_([a-z0-9]{12})$/
const KEPT = /^([\s\S]+)_taskflow_before_\d{8}T\d{6}Z_([a-z0-9]{12})$/

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

export const parseStagingName = (name: string): OwnName | undefined => parse(STAGING, name)

export const parseKeptName = (name: string): OwnName | undefined => parse(KEPT, name)

function parse(pattern: RegExp, name: string): OwnName | undefined {
  const [, stem, workId] = pattern.exec(name) ?? []
  if (stem === undefined || workId === undefined) return undefined
  // Half a surrogate pair less is cut away as well.
  return { name, stem, workId, isCut: name.length >= MAX_NAME - 1 }
}

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
