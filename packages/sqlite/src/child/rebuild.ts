import { type FileHandle, open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { BackupError, inOrder, type ManifestMember, toBackupError } from '@taskflow-backup/core'
import { readPageHashesHeader } from '../changes/format.ts'
import { PageTable } from '../changes/page-table.ts'
import { PieceReader } from '../changes/piece-reader.ts'
import type { Jobs, StateOfFile } from '../jobs.ts'
import { about } from './about-member.ts'
import { Recovery } from './apply-changes.ts'
import { IncomingMembers } from './incoming-members.ts'
import { hashPages } from './page-hashes.ts'

const BLOCK_BYTES = 1024 * 1024

/**
 * Builds a database file from a full and the changes after it, whose stored members come in on the channel. Decodes
 * them, checks them against their manifests, and flushes the file. Answers what the file must be; nothing for a full
 * without changes, which is what its manifest tells, byte for byte.
 */
export async function rebuild(
  { file, pageSize, image, pageHashes, changes, limit }: Jobs['rebuild']['input'],
  channel: Readable,
): Promise<StateOfFile | null> {
  const incoming = new IncomingMembers(channel)
  try {
    const handle = await open(file, 'wx', 0o600)
    try {
      const goesOn = changes.length > 0 || limit.commit !== undefined
      const table = goesOn || pageHashes ? tableFor(pageSize, image.plain.bytes) : undefined
      await writeImage(handle, incoming.next(image), table)
      if (table && pageHashes) await about(pageHashes, () => comparePageHashes(table, pageHashes, incoming))
      const result = table && goesOn ? await applyAll(new Recovery(handle.fd, table, limit), changes, incoming) : null
      await handle.sync()
      return result
    } finally {
      await handle.close()
    }
  } catch (error) {
    throw toBackupError(error, 'TARGET_INVALID', `Cannot write ${file}`)
  } finally {
    incoming.close()
  }
}

async function applyAll(
  recovery: Recovery,
  changes: Jobs['rebuild']['input']['changes'],
  incoming: IncomingMembers,
): Promise<StateOfFile> {
  for (const { kind, member, commit } of changes) {
    if (recovery.isFinished) break
    const pieces = incoming.nextChanges(member)
    await about(member, () =>
      recovery.apply({ kind, pieces, plainBytes: member.plain.bytes, ...(commit !== undefined && { commit }) }),
    )
  }
  return recovery.result()
}

/** Each block holds whole pages, whose hashes go to `table`. */
async function writeImage(
  handle: FileHandle,
  plain: AsyncIterable<Buffer>,
  table: PageTable | undefined,
): Promise<void> {
  let page = 1
  const hashAndWrite = (block: Buffer): Promise<void> => {
    const written = write(handle, block)
    if (table) hashPages(block, page, table) // while the disk is at work
    if (table) page += block.length / table.pageSize
    return written
  }
  for await (const _ of inOrder(inBlocks(plain), 1, hashAndWrite));
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

/** A table for the pages of a database of so many bytes. */
function tableFor(pageSize: number, bytes: number): PageTable {
  if (bytes % pageSize !== 0) throw new BackupError('MEMBER_DAMAGED', `${bytes} bytes are no pages of ${pageSize}.`)
  return new PageTable(pageSize, bytes / pageSize)
}

/** The hashes that lie beside a full are those of its pages. */
async function comparePageHashes(table: PageTable, member: ManifestMember, incoming: IncomingMembers): Promise<void> {
  const reader = new PieceReader(incoming.next(member), member.plain.bytes)
  try {
    const { pageSize, pageCount, state } = await readPageHashesHeader(reader.read)
    const { bytes } = table
    const fits = pageSize === table.pageSize && pageCount === table.pageCount && state === table.state
    if (!fits || reader.left !== bytes.length) throw new BackupError('MEMBER_DAMAGED', 'It is of another database.')
    for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
      const expected = bytes.subarray(at, at + BLOCK_BYTES)
      if (!(await reader.read(expected.length)).equals(expected))
        throw new BackupError('MEMBER_DAMAGED', 'It has other hashes than the pages beside it.')
    }
    await reader.end()
  } finally {
    await reader.close()
  }
}
