import { type PostgresConnection, resolveConnection, withSession } from '../connection.ts'
import { readSlot, whySlotIsLost } from './slot.ts'

/** How the replication slot of a plan stands. */
export interface SlotHealth {
  readonly slot: string
  /** False when no log backup can go on from it; the next full makes it anew. */
  readonly usable: boolean
  /** Why it is not usable. */
  readonly reason?: string
  /** Whether a program reads from it at this moment. */
  readonly active: boolean
  /** Bytes of log that the server keeps on its disk because of it. */
  readonly retainedBytes: number
  /** `reserved`, `extended` (more than max_wal_size), `unreserved` (about to be lost) or `lost`. */
  readonly walStatus?: string
  /** Bytes that may still be written before it is in danger; absent when `max_slot_wal_keep_size` sets no limit. */
  readonly safeWalBytes?: number
}

/**
 * Tells how much log a replication slot keeps on the server's disk, and whether log backups can go on from it.
 *
 * @param connection a URL or its parts, as for `postgres()`
 * @param slot name, as `physical.slot`
 * @throws `SERVER_UNREACHABLE`, `SERVER_REFUSED`, `SERVER_FAILED`
 *
 * @example
 * ```ts
 * import { slotHealth } from '@taskflow-backup/postgres'
 *
 * export async function isDiskInDanger(): Promise<boolean> {
 *   const { retainedBytes } = await slotHealth('postgres://backup@localhost/app', 'taskflow_backup')
 *   return retainedBytes > 10 * 1024 ** 3
 * }
 * ```
 */
export async function slotHealth(connection: string | PostgresConnection, slot: string): Promise<SlotHealth> {
  const found = await withSession(await resolveConnection(connection), (client) => readSlot(client, slot))
  const reason = whySlotIsLost(slot, found)
  return {
    slot,
    usable: reason === undefined,
    ...(reason !== undefined && { reason }),
    active: found?.active ?? false,
    retainedBytes: found?.retainedBytes ?? 0,
    ...(found?.walStatus !== undefined && { walStatus: found.walStatus }),
    ...(found?.safeWalBytes !== undefined && { safeWalBytes: found.safeWalBytes }),
  }
}
