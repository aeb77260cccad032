import type { CatalogEntry } from './backup.ts'

/** What happens to one backup, and why. */
export interface Decision {
  readonly id: string
  readonly keep: boolean
  /** For people: `newest of week 2026-W47`, `older than every window`. Never empty. */
  readonly reasons: readonly string[]
}

/**
 * Decides which backups stay. Pure: the same backups and the same `now` give the same decisions, in any order of input.
 *
 * What may never be removed (the newest full, the newest verified full, backups on hold, whatever a kept backup
 * depends on) need not be a policy's concern: core adds it to every policy's answer.
 */
export type RetentionPolicy = (backups: readonly CatalogEntry[], now: Date) => readonly Decision[]
