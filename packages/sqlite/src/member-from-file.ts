import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type AdapterContext,
  type Compression,
  LentBody,
  type Member,
  makeOwnedFolder,
  type SentFacts,
} from '@taskflow-backup/core'
import { COPY_PREFIX } from './places.ts'

const PIECE_BYTES = 1024 * 1024

/**
 * Hands on the members that `work` yields, with a folder below that for temporary files, which is removed when the last
 * of them has been taken or anything failed.
 *
 * @throws `TARGET_INVALID` when the folder cannot be made, and what `work` throws
 */
export async function* withJobFolder<Result>(
  ctx: AdapterContext,
  work: (folder: string) => AsyncGenerator<Member, Result, void>,
): AsyncGenerator<Member, Result, void> {
  const folder = await makeJobFolder(ctx)
  try {
    return yield* work(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** A folder for the files of one job, which its caller removes. @throws `TARGET_INVALID` */
export async function makeJobFolder(ctx: AdapterContext): Promise<string> {
  const folder = join(ctx.temporaryDirectory, COPY_PREFIX + ctx.randomId(12))
  await makeOwnedFolder(folder)
  return folder
}

/** The bytes of a file, which is not opened before somebody reads them. */
export const bodyFromFile = (file: string): LentBody => new LentBody(piecesOf(file))

/** Each piece is gone when the next is asked for. */
async function* piecesOf(file: string): AsyncGenerator<Buffer, void, void> {
  const handle = await open(file)
  try {
    const { size } = await handle.stat()
    const piece = Buffer.allocUnsafeSlow(Math.max(1, Math.min(size, PIECE_BYTES)))
    for (let at = 0; at < size; ) {
      const { bytesRead } = await handle.read(piece)
      if (bytesRead === 0) return
      at += bytesRead
      yield piece.subarray(0, bytesRead)
    }
  } finally {
    await handle.close()
  }
}

/** A member that a job has written to `file`, compressed as `compression` says; `facts` are what it told of it. */
export function memberFromFile(
  name: string,
  file: string,
  { algorithm, level }: Compression,
  facts: SentFacts,
): Member {
  return {
    name,
    body: bodyFromFile(file),
    encoded: {
      codecs: algorithm === 'none' ? [] : [{ name: algorithm, level }],
      plain: () => facts.plain,
      stored: () => facts.stored,
    },
  }
}
