import { BackupError, type ManifestMember } from '@taskflow-backup/core'
import type { WalPosition } from '../position.ts'

// Names of the members of physical backups. They tell everything that recovering by hand needs to know.

export const tablespaceMember = (stem: string, oid: string): string => `${stem}.tablespace-${oid}.tar`
export const baseMember = (stem: string): string => `${stem}.base.tar`
export const backupManifestMember = (stem: string): string => `${stem}.backup_manifest`

export const walMember = (stem: string, { timeline, lsn }: WalPosition): string =>
  `${stem}.${timelineName(timeline)}.${lsn.toString(16).toUpperCase().padStart(16, '0')}.wal`

export const historyMember = (stem: string, timeline: number): string => `${stem}.${timelineName(timeline)}.history`

/** Eight hexadecimal digits, as in the names of PostgreSQL's own files. */
export const timelineName = (timeline: number): string => timeline.toString(16).toUpperCase().padStart(8, '0')

/** What a member of a physical backup is. */
export type PhysicalMember =
  | { readonly kind: 'tablespace'; readonly oid: string }
  | { readonly kind: 'base' }
  | { readonly kind: 'backup_manifest' }
  | { readonly kind: 'wal'; readonly begin: WalPosition }
  | { readonly kind: 'history'; readonly timeline: number }

/** What the name says; `undefined` for a name that is of no physical backup. */
export function parseMemberName(name: string): PhysicalMember | undefined {
  const tablespace = /\.tablespace-([1-9][0-9]{0,9})\.tar$/.exec(name)
  if (tablespace) return { kind: 'tablespace', oid: tablespace[1] as string }
  if (name.endsWith('.base.tar')) return { kind: 'base' }
  if (name.endsWith('.backup_manifest')) return { kind: 'backup_manifest' }
  const wal = /\.([0-9A-F]{8})\.([0-9A-F]{16})\.wal$/.exec(name)
  if (wal) {
    return { kind: 'wal', begin: { timeline: Number.parseInt(wal[1] as string, 16), lsn: BigInt(`0x${wal[2]}`) } }
  }
  const history = /\.([0-9A-F]{8})\.history$/.exec(name)
  return history ? { kind: 'history', timeline: Number.parseInt(history[1] as string, 16) } : undefined
}

/** The one member of a backup that is of `kind`. */
export function memberOf(members: readonly ManifestMember[], kind: 'base' | 'backup_manifest'): ManifestMember {
  const found = members.find(({ name }) => parseMemberName(name)?.kind === kind)
  if (!found) throw new BackupError('MEMBER_DAMAGED', `The backup has no member of the kind ${kind}.`)
  return found
}
