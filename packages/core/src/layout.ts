import type { BackupKind, VerificationLevel } from './contracts/backup.ts'

// Where everything lies inside a destination. docs/format.md shows the same as a picture.

const STAMP = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})(\d{3})Z$/
const CHAIN = /^\d{8}T\d{9}Z-[a-z0-9]{4,}$/
const BACKUP = /^(\d{8}T\d{9}Z)-(full|differential|log)$/
const VERIFICATION = /^verified\.(stored|decoded|restored)\.(passed|failed)\.json$/

/** Suffix of objects that are still being written, or were when their writer was killed. */
export const PARTIAL_SUFFIX = '.partial'

/** `20261122T020000123Z`: fixed width, so that the order of stamps is the order of times. */
export function stamp(date: Date): string {
  return date.toISOString().replace(/[-:.]/g, '')
}

/** The time that a stamp tells, or `undefined` when it is none. */
export function parseStamp(text: string): Date | undefined {
  const parts = STAMP.exec(text)
  if (!parts) return undefined
  const [, year, month, day, hour, minute, second, ms] = parts
  const date = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}.${ms}Z`)
  // `Date` takes the 31st of February and midnight at 24:00, and makes the next day of them. NaN is no day at all.
  return date.getUTCDate() === Number(day) ? date : undefined
}

/** Begin of member names, after the names that the scripts before us gave: `taskmanagement_backup_20261122_020000`. */
export function fileStem(plan: string, startedAt: Date): string {
  const text = stamp(startedAt)
  return `${plan}_backup_${text.slice(0, 8)}_${text.slice(9, 15)}`
}

export const newChainName = (startedAt: Date, random: string): string => `${stamp(startedAt)}-${random}`
export const newBackupId = (chain: string, startedAt: Date, kind: BackupKind): string =>
  `${chain}/${stamp(startedAt)}-${kind}`

export const planPrefix = (plan: string): string => `${plan}/`
export const backupPrefix = (plan: string, id: string): string => `${plan}/${id}/`
/** Sorts behind all keys of the chain and before those of later ones. */
export const chainEnd = (plan: string, chain: string): string => `${plan}/${chain}0`
export const manifestKey = (plan: string, id: string): string => `${plan}/${id}/manifest.json`
export const memberKey = (plan: string, id: string, file: string): string => `${plan}/${id}/${file}`
export const holdKey = (plan: string, chain: string): string => `${plan}/${chain}/hold.json`
export const lockKey = (plan: string, token: string): string => `${plan}/lock-${token}.json`
export const lockPrefix = (plan: string): string => `${plan}/lock-`
export const verificationKey = (
  plan: string,
  id: string,
  level: VerificationLevel,
  outcome: 'passed' | 'failed',
): string => `${plan}/${id}/verified.${level}.${outcome}.json`

/** True for a file in a backup's folder that is never a member, whatever its backup. */
export const isReservedFile = (file: string): boolean =>
  file === 'manifest.json' || file.startsWith('verified.') || file.endsWith(PARTIAL_SUFFIX)

/** What a key below a plan's prefix is about. */
export type KeyMeaning =
  | { readonly is: 'manifest' | 'member'; readonly backup: BackupName }
  | {
      readonly is: 'verification'
      readonly backup: BackupName
      readonly level: VerificationLevel
      readonly passed: boolean
    }
  | { readonly is: 'partial'; readonly backup?: BackupName }
  | { readonly is: 'hold'; readonly chain: string }
  | { readonly is: 'lock' }
  | { readonly is: 'foreign' }

/** The parts of a backup's id. */
export interface BackupName {
  readonly id: string
  readonly chain: string
  readonly kind: BackupKind
  readonly startedAt: Date
}

/** Takes a backup's id apart, or gives `undefined` when it is none of ours. */
export function parseBackupId(id: string): BackupName | undefined {
  const slash = id.indexOf('/')
  const chain = id.slice(0, slash)
  const parts = BACKUP.exec(id.slice(slash + 1))
  if (slash < 0 || !CHAIN.test(chain) || !parts) return undefined
  const startedAt = parseStamp(parts[1] as string)
  return startedAt && { id, chain, kind: parts[2] as BackupKind, startedAt }
}

/** What the object under `key` is, from its name alone. */
export function meaningOf(plan: string, key: string, parse: typeof parseBackupId = parseBackupId): KeyMeaning {
  const path = key.slice(plan.length + 1).split('/')
  const file = path.at(-1) as string
  const backup = path.length === 3 ? parse(`${path[0]}/${path[1]}`) : undefined
  if (file.endsWith(PARTIAL_SUFFIX)) return { is: 'partial', ...(backup && { backup }) }
  if (path.length === 1 && file.startsWith('lock-')) return { is: 'lock' }
  if (path.length === 2 && file === 'hold.json' && CHAIN.test(path[0] as string)) {
    return { is: 'hold', chain: path[0] as string }
  }
  if (!backup) return { is: 'foreign' }
  if (file === 'manifest.json') return { is: 'manifest', backup }
  const verification = VERIFICATION.exec(file)
  if (verification) {
    return {
      is: 'verification',
      backup,
      level: verification[1] as VerificationLevel,
      passed: verification[2] === 'passed',
    }
  }
  return { is: 'member', backup }
}
