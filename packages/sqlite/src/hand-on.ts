import type { Readable } from 'node:stream'
import {
  BackupError,
  borrow,
  inOrder,
  LentBody,
  type ManifestMember,
  type OpenBackup,
  type RunningJob,
  sendBody,
  toBackupError,
  wholeBody,
} from '@taskflow-backup/core'

/** Small members are fetched whole, so many at the same time: a storage far away takes its time for each. */
const SMALL_BYTES = 256 * 1024
const IN_FLIGHT = 16
const BATCH_BYTES = 64 * 1024

export interface StoredMember {
  readonly backup: OpenBackup
  readonly member: ManifestMember
}

/**
 * Hands the stored bytes of all members, one behind the other, on to a job that decodes and checks them, so that the
 * app's process does not have to. Returns what the job gives.
 */
export async function handOn<Result>(
  members: readonly StoredMember[],
  job: Pick<RunningJob<Result>, 'channel' | 'result'>,
): Promise<Result> {
  let failure: unknown
  async function* bytes(): AsyncGenerator<Uint8Array, void, void> {
    const pieces = storedBytes(members)
    // The channel ends as if this was all, so that what came before still arrives: it may be enough.
    const next = (): Promise<IteratorResult<Uint8Array, void>> =>
      pieces.next().catch((error: unknown) => {
        failure = error
        return { done: true, value: undefined }
      })
    try {
      // A channel that breaks throws in here, at `yield`: that is no failure of the storage.
      for (let piece = await next(); !piece.done; piece = await next()) yield piece.value
    } finally {
      await pieces.return(undefined)
    }
  }
  const sent = sendBody(new LentBody(bytes()), job.channel)
  const [, done] = await Promise.allSettled([sent, job.result])
  // It stops reading where it has enough; what becomes of the bytes behind does not matter.
  if (done.status === 'fulfilled') return done.value
  // A storage that failed is the reason for whatever the child says about what it got.
  throw toBackupError(failure ?? done.reason, 'CHILD_FAILED', 'The backups could not be read')
}

async function* storedBytes(members: readonly StoredMember[]): AsyncGenerator<Uint8Array, void, void> {
  const bodies = inOrder(members, IN_FLIGHT, async ({ backup, member }) => {
    const open = (): Promise<Readable> => backup.openStored(member.name)
    return member.stored.bytes <= SMALL_BYTES ? exactly(member, await wholeBody(await open())) : open
  })
  yield* inBatches(bodies)
}

/** Small ones go together: each write wakes the job. Large ones are lent. */
async function* inBatches(
  bodies: AsyncIterable<Buffer | (() => Promise<Readable>)>,
): AsyncGenerator<Uint8Array, void, void> {
  let batch: Buffer[] = []
  let bytes = 0
  function* sent(): Generator<Buffer> {
    if (batch.length > 0) yield Buffer.concat(batch)
    batch = []
    bytes = 0
  }
  try {
    for await (const body of bodies) {
      if (typeof body === 'function') {
        yield* sent()
        yield* borrow(await body())
        continue
      }
      batch.push(body)
      bytes += body.length
      if (bytes >= BATCH_BYTES) yield* sent()
    }
  } catch (error) {
    yield* sent() // what came before a failure may be enough
    throw error
  }
  yield* sent()
}

/** One that is too short or too long would shift all that follow. */
function exactly({ file, stored }: ManifestMember, bytes: Buffer): Buffer {
  if (bytes.length === stored.bytes) return bytes
  throw new BackupError(
    'MEMBER_DAMAGED',
    `${file} has ${bytes.length} stored bytes, its manifest says ${stored.bytes}.`,
  )
}
