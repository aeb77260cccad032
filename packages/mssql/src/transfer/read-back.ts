import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { BackupError, jobMember, type Member, type RunningJob, throwIfAborted } from '@taskflow-backup/core'
import { startJob } from '../child-process.ts'
import type { ScannedFile, SentFile } from '../jobs.ts'
import type { SqlSession } from '../session.ts'
import type { Delivery, DeliveryOrders, MadeBackup } from './delivery.ts'
import { extensionOf } from './extension.ts'
import { onServer, stripeSuffix, temporaryName } from './names.ts'
import type { ReadBackTransfer } from './options.ts'
import {
  LOADED_BYTES,
  LOADED_PIECE,
  type LoadedBytesRow,
  type LoadedPieceRow,
  loadFileStatement,
  UNLOAD_STATEMENT,
} from './read-back-statements.ts'
import { deleteOnServer } from './server-files.ts'

const PIECE_BYTES = 2 * 1024 * 1024

/** The server writes to its own disk and sends its files back in pieces; a child checks and compresses them. */
export function deliverByReadBack(
  { options, request, workId, stripes, ctx }: DeliveryOrders,
  { serverDirectory }: ReadBackTransfer,
): Delivery {
  const kind = extensionOf(request.kind)
  const files = Array.from({ length: stripes }, (_, index) => ({
    member: `${request.fileStem}${stripeSuffix(index + 1, stripes)}.${kind}`,
    server: onServer(serverDirectory, temporaryName(workId, kind, index + 1, stripes)),
  }))
  let job: RunningJob<SentFile> | undefined

  async function* members({ session }: MadeBackup): AsyncGenerator<Member, readonly ScannedFile[], void> {
    const scanned: ScannedFile[] = []
    try {
      for (const { member, server } of files) {
        const { inactivityTimeoutMs: inactivityMs } = options
        await session.run(loadFileStatement(server), { signal: ctx.signal, inactivityMs })
        const bytes = await loadedBytes(session, server)
        const { compression } = request
        job = startJob('sendBackup', { name: member, source: { channelBytes: bytes }, compression }, ctx)
        const fed = feed(session, bytes, job, ctx.signal)
        fed.catch(() => job?.kill()) // without its bytes it would wait for ever
        const result = preferring(fed, job.result)
        yield jobMember(member, { ...job, result }, compression, (sent) => scanned.push(sent.scanned))
        await result
        await session.run(UNLOAD_STATEMENT)
      }
      return scanned
    } finally {
      job?.kill()
      await job?.result.catch(() => {})
    }
  }

  return {
    devices: files.map(({ server }) => ({ type: 'disk', path: server })),
    stays: false,
    members,
    async discard(session) {
      for (const { server } of files) await deleteOnServer(session, server)
    },
  }
}

async function loadedBytes(session: SqlSession, path: string): Promise<number> {
  const [row] = await session.rows<LoadedBytesRow>(LOADED_BYTES)
  const bytes = Number(row?.bytes ?? Number.NaN)
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes
  throw new BackupError('SOURCE_UNREADABLE', `The server read nothing of ${path}.`)
}

async function feed(session: SqlSession, bytes: number, { channel }: RunningJob<SentFile>, signal: AbortSignal) {
  async function* pieces(): AsyncGenerator<Buffer> {
    for (let at = 0; at < bytes; ) {
      throwIfAborted(signal)
      const count = Math.min(PIECE_BYTES, bytes - at)
      const [row] = await session.rows<LoadedPieceRow>(LOADED_PIECE, { from: at + 1, count })
      if (row?.piece.length !== count) throw new BackupError('SOURCE_UNREADABLE', 'The server sent a shorter piece.')
      at += count
      yield row.piece
    }
  }
  await pipeline(Readable.from(pieces(), { objectMode: false, highWaterMark: 1 }), channel, { end: false })
}

/** What failed first is the reason for what failed then. */
async function preferring(fed: Promise<void>, result: Promise<SentFile>): Promise<SentFile> {
  const [feeding, sent] = await Promise.allSettled([fed, result])
  // A child that is gone breaks the channel: then its reason is the better one.
  if (feeding.status === 'rejected' && feeding.reason instanceof BackupError) throw feeding.reason
  if (sent.status === 'rejected') throw sent.reason
  if (feeding.status === 'rejected') throw feeding.reason
  return sent.value
}
