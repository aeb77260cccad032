// Names of the files in a folder that a server writes to or reads from. A temporary one carries the id of the work that
// it belongs to; that work holds the application lock of the same id on the server for as long as it lives.

const TEMPORARY = /^taskflow_temp_([a-z0-9]{12})(?:_\d+of\d+)?\.(?:bak|trn|probe)$/

const KEPT = /(?:^|[\\/])[A-Za-z0-9._-]+_backup_\d{8}_\d{6}_([a-z0-9]{12})(?:_\d+of\d+)?\.(?:bak|trn)$/

/** Length of the id of a piece of work. */
export const WORK_ID_LENGTH = 12

/** The application lock in `master` that a piece of work holds while it lives. */
export const lockNameOf = (workId: string): string => `taskflow-backup:${workId}`

/** What a file is for: backups of data and of the log, and a file that shows whether a folder is shared. */
export type TemporaryKind = 'bak' | 'trn' | 'probe'

/** `taskflow_temp_<id>.bak`, or `…_2of4.bak` for a stripe. */
export const temporaryName = (workId: string, kind: TemporaryKind, stripe = 1, stripes = 1): string =>
  `taskflow_temp_${workId}${stripeSuffix(stripe, stripes)}.${kind}`

/** The id in the name of a temporary file of ours; `undefined` for every other file. */
export const workIdOf = (name: string): string | undefined => TEMPORARY.exec(name)?.[1]

/** Nothing for a single file, `_2of4` for a stripe. */
export const stripeSuffix = (stripe: number, stripes: number): string => (stripes === 1 ? '' : `_${stripe}of${stripes}`)

/** A path in a folder of the server, in the manner of its system. */
export function onServer(directory: string, name: string): string {
  const separator = directory.includes('\\') || !directory.includes('/') ? '\\' : '/'
  return `${directory.replace(/[\\/]+$/, '')}${separator}${name}`
}

/** The file of a backup that stays on the server. */
export const keptName = (fileStem: string, workId: string, kind: 'bak' | 'trn', stripe = 1, stripes = 1): string =>
  `${fileStem}_${workId}${stripeSuffix(stripe, stripes)}.${kind}`

/** The id in the name of a file of a backup that stays; `undefined` for every other path. */
export const keptWorkIdOf = (path: string): string | undefined => KEPT.exec(path)?.[1]

/** Whether a path ends in a name that {@link keptName} gives. */
export const isKeptName = (path: string): boolean => KEPT.test(path)
