import { BackupError } from '@taskflow-backup/core'

/**
 * A log sequence number, as SQL Server writes it in decimal: `a · 10^15 + b · 10^5 + c` of its three parts. Larger than
 * a JavaScript number can hold.
 */
export type Lsn = bigint

const DIGITS = 25

/**
 * Reads what SQL Server calls `numeric(25, 0)`.
 *
 * @throws `OPTIONS_INVALID` when the text is anything but 1 to 25 decimal digits
 */
export function parseLsn(text: string): Lsn {
  if (typeof text !== 'string' || !/^[0-9]{1,25}$/.test(text))
    throw new BackupError('OPTIONS_INVALID', `${JSON.stringify(text)} is no log sequence number: 1 to 25 digits.`)
  return BigInt(text)
}

/** Decimal, without leading zeros, as msdb and `RESTORE HEADERONLY` show it. */
export function formatLsn(lsn: Lsn): string {
  const text = String(lsn)
  if (lsn < 0n || text.length > DIGITS)
    throw new BackupError('OPTIONS_INVALID', `${text} is no log sequence number: 1 to 25 digits.`)
  return text
}

/** From the three parts that a backup file holds: log file, block and slot, unsigned of 32, 32 and 16 bits. */
export function lsnFromParts(file: number, block: number, slot: number): Lsn {
  if (![file, block].every((part) => isUnsigned(part, 0xffff_ffff)) || !isUnsigned(slot, 0xffff))
    throw new BackupError('OPTIONS_INVALID', `(${file}, ${block}, ${slot}) are no parts of a log sequence number.`)
  return BigInt(file) * 10n ** 15n + BigInt(block) * 100_000n + BigInt(slot)
}

/** The form of a manifest's positions: 25 digits, zero-padded. */
export const formatPosition = (lsn: Lsn): string => formatLsn(lsn).padStart(DIGITS, '0')

/** Orders two positions of manifests. Negative when `a` comes first. */
export function comparePositions(a: string, b: string): number {
  const [left, right] = [parseLsn(a), parseLsn(b)]
  return left < right ? -1 : left > right ? 1 : 0
}

const isUnsigned = (value: number, max: number): boolean => Number.isInteger(value) && value >= 0 && value <= max
