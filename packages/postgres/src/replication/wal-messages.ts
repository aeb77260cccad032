/** Microseconds between the epochs of Unix and of PostgreSQL. */
const EPOCH_US = 946_684_800_000_000n

export const WAL_DATA = 0x77
export const KEEP_ALIVE = 0x6b
/** Kind, begin, end of the server's log, clock. */
export const WAL_HEADER_BYTES = 25
/** Kind, end of the server's log, clock, whether an answer is wanted. */
export const KEEP_ALIVE_BYTES = 18

/** What a standby tells: it has written, flushed and applied everything before `lsn`. */
export function statusUpdate(lsn: bigint, nowMs: number, wantAnswer: boolean): Buffer {
  const message = Buffer.alloc(34)
  message[0] = 0x72
  for (const at of [1, 9, 17]) message.writeBigUInt64BE(lsn, at)
  message.writeBigInt64BE(BigInt(nowMs) * 1000n - EPOCH_US, 25)
  message[33] = wantAnswer ? 1 : 0
  return message
}
