import { type FileHandle, open } from 'node:fs/promises'
import { Socket } from 'node:net'
import { CHANNEL_FD, inOrder, toBackupError, unpackMember } from '@taskflow-backup/core'
import type { Jobs } from '../jobs.ts'

const BLOCK_BYTES = 1024 * 1024

/** Decodes the stored member that comes in on the channel, checks it against its manifest, and writes it to a new file. */
export async function unpack({ file, member }: Jobs['unpack']['input']): Promise<null> {
  const stored = new Socket({ fd: CHANNEL_FD, readable: true, writable: false })
  const plain = unpackMember(member, stored, () => {}) // the parent tells how far it is
  try {
    const handle = await open(file, 'wx', 0o600)
    try {
      for await (const _ of inOrder(inBlocks(plain), 1, (block) => write(handle, block)));
      await handle.sync()
    } finally {
      await handle.close()
    }
    return null
  } catch (error) {
    throw toBackupError(error, 'TARGET_INVALID', `Cannot write ${file}`)
  } finally {
    stored.destroy()
  }
}

/** The same bytes in two blocks that take turns: one is written while the other is filled. */
async function* inBlocks(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let [block, other] = [Buffer.allocUnsafeSlow(BLOCK_BYTES), Buffer.allocUnsafeSlow(BLOCK_BYTES)]
  let filled = 0
  for await (const piece of pieces) {
    for (let at = 0; at < piece.length; ) {
      const copied = piece.copy(block, filled, at)
      filled += copied
      at += copied
      if (filled < BLOCK_BYTES) continue
      yield block
      ;[block, other] = [other, block]
      filled = 0
    }
  }
  yield block.subarray(0, filled)
}

async function write(handle: FileHandle, block: Buffer): Promise<void> {
  for (let at = 0; at < block.length; ) at += (await handle.write(block, at)).bytesWritten
}
