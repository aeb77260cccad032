import { BackupError } from '@taskflow-backup/core'

/** A place in the write-ahead log: bytes since the cluster was made, on one timeline. */
export interface WalPosition {
  readonly timeline: number
  readonly lsn: bigint
}

/** `1A/2B3C4D5E`, as PostgreSQL writes it. */
export const formatLsn = (lsn: bigint): string =>
  `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`

/** The opposite of {@link formatLsn}. */
export function parseLsn(text: string): bigint {
  const found = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text)
  if (!found) throw new BackupError('INTERNAL', `${JSON.stringify(text)} is no position in the write-ahead log.`)
  return (BigInt(`0x${found[1]}`) << 32n) | BigInt(`0x${found[2]}`)
}

/** `<timeline>:<lsn>`, the position of a physical backup in its manifest. */
export const formatPosition = ({ timeline, lsn }: WalPosition): string => `${timeline}:${formatLsn(lsn)}`

/** The opposite of {@link formatPosition}. */
export function parsePosition(text: string): WalPosition {
  const [timeline = '', lsn = ''] = text.split(':')
  return { timeline: Number(timeline), lsn: parseLsn(lsn) }
}

/**
 * Orders two positions of the same mode. Those of physical backups by their place in the log, whatever the timeline: a
 * later timeline begins where it left the earlier one. Those of logical backups, which have no such place, begin with
 * the time of their snapshot.
 */
export function comparePositions(a: string, b: string): number {
  if (isLogical(a) || isLogical(b)) return a < b ? -1 : a > b ? 1 : 0
  const [left, right] = [parsePosition(a), parsePosition(b)]
  return left.lsn < right.lsn ? -1 : left.lsn > right.lsn ? 1 : left.timeline - right.timeline
}

const isLogical = (position: string): boolean => /^\d{4}-/.test(position)
