import { BackupError, copyToShared } from '@taskflow-backup/core'
import type { ReplicationConnection, ReplicationRow } from '../replication/connection.ts'
import { SLAB_BYTES, type SlabPool } from './slab-pool.ts'

/** With so many slabs waiting, the server is not read from any more. */
const MOST_WAITING = 2

/** What comes out of a BASE_BACKUP, in this order: archives with their data, then the manifest with its own. */
export type ArchiveEvent =
  | { readonly kind: 'archive'; readonly name: string }
  | { readonly kind: 'manifest' }
  | { readonly kind: 'data'; readonly bytes: Buffer }

/** Receivers of what a BASE_BACKUP tells beside its archives. */
export interface ArchiveListeners {
  /** Bytes that the server has read. */
  readonly onProgress: (bytes: number) => void
  readonly onRow: (row: ReplicationRow) => void
}

const NEW_ARCHIVE = 0x6e
const MANIFEST = 0x6d
const DATA = 0x64
const PROGRESS = 0x70

/**
 * Runs BASE_BACKUP and yields what comes, the data in slabs of `pool`, which the caller gives back. It ends only when the server said that the whole command succeeded; then it
 * returns the rows of its results.
 *
 * @throws the codes of `toConnectionError`
 */
export async function* copyArchives(
  connection: ReplicationConnection,
  command: string,
  listeners: ArchiveListeners,
  pool: SlabPool,
): AsyncGenerator<ArchiveEvent, ReplicationRow[][], void> {
  const waiting: ArchiveEvent[] = []
  let slab: Buffer | undefined
  let filled = 0
  let paused = false
  let wake: (() => void) | undefined
  let kind = 0
  let control: Buffer[] = []

  const push = (event: ArchiveEvent): void => {
    waiting.push(event)
    if (!paused && waiting.length > MOST_WAITING) {
      paused = true
      connection.pause()
    }
    wake?.()
  }
  const flush = (): void => {
    if (slab && filled > 0) push({ kind: 'data', bytes: slab.subarray(0, filled) })
    slab = undefined
    filled = 0
  }
  const gather = (piece: Buffer): void => {
    for (let at = 0; at < piece.length; ) {
      slab ??= pool.take()
      const end = Math.min(piece.length, at + SLAB_BYTES - filled)
      copyToShared(slab, filled, piece, at, end)
      filled += end - at
      at = end
      if (filled === SLAB_BYTES) flush()
    }
  }
  const message = (): void => {
    const body = Buffer.concat(control)
    control = []
    if (kind === PROGRESS) {
      listeners.onProgress(Number(body.readBigInt64BE(0)))
      return
    }
    flush()
    if (kind === MANIFEST) push({ kind: 'manifest' })
    else if (kind === NEW_ARCHIVE) push({ kind: 'archive', name: body.toString('utf8', 0, body.indexOf(0)) })
    else throw new BackupError('SERVER_FAILED', `The server sent a message of the unknown kind ${kind}.`)
  }

  let results: ReplicationRow[][] | undefined
  let failure: unknown
  const running = connection.run(command, {
    onRow: listeners.onRow,
    onCopyData(piece, first, last) {
      if (first) kind = piece[0] ?? 0
      const content = first ? piece.subarray(1) : piece
      if (kind === DATA) return gather(content)
      control.push(Buffer.from(content))
      if (last) message()
    },
  })
  const settled = running.then(
    (rows) => {
      flush()
      results = rows
      wake?.()
    },
    (error: unknown) => {
      failure = error
      wake?.()
    },
  )
  try {
    for (;;) {
      if (failure !== undefined) throw failure
      const event = waiting.shift()
      if (event) {
        if (paused && waiting.length < MOST_WAITING) {
          paused = false
          connection.resume()
        }
        yield event
      } else if (results) return results
      else await new Promise<void>((resolve) => (wake = resolve))
    }
  } finally {
    if (!results) connection.destroy(new BackupError('ABORTED', 'The base backup was not read to its end.'))
    await settled
  }
}
