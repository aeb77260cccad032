import type { BackupKind, CatalogEntry } from '../contracts/backup.ts'
import type { Decision } from '../contracts/policy.ts'

const KINDS: readonly BackupKind[] = ['full', 'differential', 'log']
const BYTE_UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/**
 * Decisions as text for a person: one line per backup in the order given, then a summary. Lines end in `\n`.
 *
 * With `entries` the summary also counts kinds and says how many bytes become free in one destination.
 *
 * @example
 * ```ts
 * import { explainRetention } from '@taskflow-backup/core'
 *
 * console.log(explainRetention([{ id: 'a/b', keep: true, reasons: ['newest of day 2026-11-22', 'newest full'] }]))
 * // keep    a/b  newest of day 2026-11-22; newest full
 * // Keeps 1 of 1 backup and removes none.
 * ```
 */
export function explainRetention(decisions: readonly Decision[], entries: readonly CatalogEntry[] = []): string {
  if (decisions.length === 0) return 'There are no backups to decide about.\n'
  const width = decisions.reduce((longest, { id }) => Math.max(longest, id.length), 0)
  const lines = decisions.map(
    ({ id, keep, reasons }) => `${keep ? 'keep  ' : 'remove'}  ${id.padEnd(width)}  ${reasons.join('; ')}\n`,
  )
  return `${lines.join('')}${summarize(decisions, entries)}\n`
}

function summarize(decisions: readonly Decision[], entries: readonly CatalogEntry[]): string {
  const byId = new Map(entries.map((entry) => [entry.id, entry]))
  const entriesOf = (keep: boolean): CatalogEntry[] =>
    decisions.flatMap((decision) => (decision.keep === keep ? (byId.get(decision.id) ?? []) : []))
  const keptCount = decisions.filter((decision) => decision.keep).length
  const removedCount = decisions.length - keptCount
  const kept = `Keeps ${keptCount} of ${plural(decisions.length, 'backup')}${countKinds(entriesOf(true))}`
  if (removedCount === 0) return `${kept} and removes none.`
  const removed = entriesOf(false)
  // Without an entry for every backup that goes, a sum would be too small.
  const freedBytes = removed.reduce((sum, entry) => sum + entry.storedBytes, 0)
  const freed = removed.length === removedCount ? `; frees ${formatBytes(freedBytes)}` : ''
  return `${kept} and removes ${removedCount}${countKinds(removed)}${freed}.`
}

function countKinds(entries: readonly CatalogEntry[]): string {
  const counts = KINDS.flatMap((kind) => {
    const count = entries.filter((entry) => entry.kind === kind).length
    return count === 0 ? [] : [plural(count, kind)]
  })
  return counts.length === 0 ? '' : ` (${counts.join(', ')})`
}

function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`
}

function formatBytes(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), BYTE_UNITS.length - 1)
  const value = bytes / 1024 ** power
  return `${power === 0 ? value : value.toFixed(1)} ${BYTE_UNITS[power] ?? ''}`
}
