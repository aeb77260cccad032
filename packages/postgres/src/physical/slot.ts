import type { Client } from 'pg'
import { parseLsn } from '../position.ts'

/** A replication slot as `pg_replication_slots` shows it. */
export interface SlotFacts {
  readonly type: 'physical' | 'logical'
  readonly active: boolean
  /** The oldest log that it keeps; `undefined` when it keeps none, as after it was invalidated. */
  readonly restartLsn?: bigint
  /** `reserved`, `extended`, `unreserved`, `lost`. */
  readonly walStatus?: string
  /** Bytes that may still be written before it is in danger; absent without a limit. */
  readonly safeWalBytes?: number
  /** Log that the server keeps because of it. */
  readonly retainedBytes: number
}

const SLOT = `
SELECT slot_type, active, restart_lsn::text, wal_status, safe_wal_size,
       coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                     ELSE pg_current_wal_lsn() END, restart_lsn), 0)::bigint AS retained_bytes
FROM pg_replication_slots WHERE slot_name = $1`

/** `undefined` when there is no such slot. */
export async function readSlot(client: Client, name: string): Promise<SlotFacts | undefined> {
  const [row] = (await client.query(SLOT, [name])).rows
  if (!row) return undefined
  return {
    type: row.slot_type,
    active: row.active,
    ...(row.restart_lsn !== null && { restartLsn: parseLsn(row.restart_lsn) }),
    ...(row.wal_status !== null && { walStatus: row.wal_status }),
    ...(row.safe_wal_size !== null && { safeWalBytes: Number(row.safe_wal_size) }),
    retainedBytes: Number(row.retained_bytes),
  }
}

/** Why no log backup can go on from a slot; `undefined` when one can. */
export function whySlotIsLost(name: string, slot: SlotFacts | undefined): string | undefined {
  if (!slot) return `The server has no replication slot "${name}".`
  if (slot.type !== 'physical') return `The replication slot "${name}" is a logical one.`
  // While it is only `unreserved`, the log is still there; the next log backup brings the slot back.
  if (slot.restartLsn === undefined || slot.walStatus === 'lost')
    return `The replication slot "${name}" was invalidated: the server removed log that it should have kept.`
  return undefined
}
