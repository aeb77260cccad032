import { BackupError } from '@taskflow-backup/core'
import { formatLsn } from '../position.ts'
import type { ReplicationConnection } from '../replication/connection.ts'
import { quoteName } from '../replication/quote.ts'
import { KEEP_ALIVE, KEEP_ALIVE_BYTES, statusUpdate, WAL_DATA, WAL_HEADER_BYTES } from '../replication/wal-messages.ts'
import { SLAB_BYTES, type SlabPool } from './slab-pool.ts'

const MOST_WAITING = 2
/** The server ends a connection that has been silent for wal_sender_timeout, a minute by default. */
const STATUS_MS = 5_000
/** A server that has log to send and is silent for so long is not there any more. */
const SILENCE_MS = 60_000
/** How long a server may take to take leave, when everything has come. */
const GOODBYE_MS = 5_000

/** A range of the log on one timeline. */
export interface WalRange {
  readonly timeline: number
  readonly begin: bigint
  readonly end: bigint
}

/**
 * Yields exactly the bytes of `range`, in slabs of `pool`, which the caller gives back. Tells the server that everything
 * before `committed` is safe, and nothing more. When it fails, what was yielded is what had come.
 *
 * @throws the codes of `toConnectionError`; `SERVER_FAILED` for a gap
 */
export async function* streamWal(
  connection: ReplicationConnection,
  slot: string,
  range: WalRange,
  committed: bigint,
  pool: SlabPool,
): AsyncGenerator<Buffer, void, void> {
  const waiting: Buffer[] = []
  let slab: Buffer | undefined
  let filled = 0
  let paused = false
  let wake: (() => void) | undefined
  /** Before the server has sent something, it may not be told anything. */
  let heard = false
  let heardAtMs = performance.now()
  let position = range.begin
  let finished = false
  let header = Buffer.alloc(0)
  let kind = 0

  const flush = (): void => {
    if (slab && filled > 0) waiting.push(slab.subarray(0, filled))
    slab = undefined
    filled = 0
    if (!paused && waiting.length > MOST_WAITING) {
      paused = true
      connection.pause()
    }
    wake?.()
  }
  const finish = (): void => {
    if (finished) return
    finished = true
    flush()
    tell(false)
    connection.sendDone()
  }
  const gather = (content: Buffer): void => {
    const left = range.end - position
    const piece = BigInt(content.length) > left ? content.subarray(0, Number(left)) : content
    for (let at = 0; at < piece.length; ) {
      slab ??= pool.take()
      const end = Math.min(piece.length, at + SLAB_BYTES - filled)
      piece.copy(slab, filled, at, end)
      filled += end - at
      position += BigInt(end - at)
      at = end
      if (filled === SLAB_BYTES) flush()
    }
    if (position === range.end) finish()
  }
  const tell = (wantAnswer: boolean): void => {
    connection.send(statusUpdate(committed, Date.now(), wantAnswer)).catch(() => {}) // a broken connection says so itself
  }
  const begun = (): void => {
    if (kind === KEEP_ALIVE) {
      if (header[KEEP_ALIVE_BYTES - 1] === 1) tell(false)
      return
    }
    const start = header.readBigUInt64BE(1)
    if (start !== position) {
      throw new BackupError(
        'SERVER_FAILED',
        `The log has a gap: ${formatLsn(start)} came instead of ${formatLsn(position)}.`,
      )
    }
  }
  const onCopyData = (piece: Buffer, first: boolean): void => {
    heard = true
    heardAtMs = performance.now()
    if (finished) return
    let at = 0
    if (first) {
      kind = piece[0] ?? 0
      if (kind !== WAL_DATA && kind !== KEEP_ALIVE)
        throw new BackupError('SERVER_FAILED', `The server sent a message of the unknown kind ${kind}.`)
      header = Buffer.alloc(0)
    }
    const headerBytes = kind === WAL_DATA ? WAL_HEADER_BYTES : KEEP_ALIVE_BYTES
    if (header.length < headerBytes) {
      at = Math.min(piece.length, headerBytes - header.length)
      header = Buffer.concat([header, piece.subarray(0, at)])
      if (header.length === headerBytes) begun()
    }
    if (kind === WAL_DATA && at < piece.length) gather(piece.subarray(at))
  }

  const command = `START_REPLICATION SLOT ${quoteName(slot)} PHYSICAL ${formatLsn(range.begin)} TIMELINE ${range.timeline}`
  let ended = false
  let failure: unknown
  const settled = connection
    .run(command, {
      onCopyData,
      onCopyDone: () => {
        if (!finished) connection.sendDone() // the end of a timeline that was left, earlier than it should be
      },
    })
    .catch((error: unknown) => {
      failure = error
    })
    .finally(() => {
      ended = true
      flush()
    })
  const timer = setInterval(() => {
    if (!paused && performance.now() - heardAtMs > SILENCE_MS)
      connection.destroy(new BackupError('SERVER_UNREACHABLE', 'The server is silent.', { retryable: true }))
    else if (heard && !finished) tell(true)
  }, STATUS_MS)
  try {
    for (;;) {
      const bytes = waiting.shift()
      if (bytes) {
        if (paused && waiting.length < MOST_WAITING) {
          paused = false
          connection.resume()
        }
        yield bytes
      } else if (finished) break
      else if (ended) throw failure ?? tooShort(range, position)
      else await new Promise<void>((resolve) => (wake = resolve))
    }
    const patience = setTimeout(() => connection.destroy(undefined), GOODBYE_MS)
    await settled
    clearTimeout(patience)
  } finally {
    clearInterval(timer)
    if (!ended) connection.destroy(new BackupError('ABORTED', 'The log was not read to its end.'))
    await settled
  }
}

function tooShort({ timeline, end }: WalRange, position: bigint): BackupError {
  return new BackupError(
    'SERVER_UNREACHABLE',
    `The server stopped sending timeline ${timeline} at ${formatLsn(position)}, before ${formatLsn(end)}.`,
    { retryable: true },
  )
}
