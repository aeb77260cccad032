import type { Finding, MemberToInspect } from '@taskflow-backup/core'
import { BackupError } from '@taskflow-backup/core'
import { isHash } from './changes/commits.ts'
import { readIndex, readPageHashesHeader } from './changes/format.ts'
import { HASH_BYTES, StateSum, wordsOf } from './changes/page-table.ts'
import { PieceReader } from './changes/piece-reader.ts'

/** Page hashes that are read at once. */
const HASHES_AT_ONCE = 4096

/** Checks a member `.changes`: its index, each page against its hash, and that it ends there. */
export async function inspectChanges(member: MemberToInspect): Promise<Finding[]> {
  return inspectBy(member, 'sqlite-changes', async (reader) => {
    const index = await readIndex(reader.read)
    const { pageSize, pages, steps } = index
    if (reader.left !== pages.length * pageSize)
      return refuse(`it has ${reader.left} bytes of pages instead of ${pages.length * pageSize}`)
    const words = wordsOf(index.hashes)
    const image = Buffer.allocUnsafe(pageSize)
    for (let i = 0; i < pages.length; i++) {
      await reader.readInto(image)
      if (!isHash(image, words, i)) refuse(`page ${pages[i]} is another one than its index tells`)
    }
    return `has ${steps.length} steps with ${pages.length} pages of ${pageSize} bytes`
  })
}

/** Checks a member `.pagehashes`: its header, its length, and that the hashes add up to the state that it tells. */
export async function inspectPageHashes(member: MemberToInspect): Promise<Finding[]> {
  return inspectBy(member, 'sqlite-page-hashes', async (reader) => {
    const { pageCount, pageSize, state } = await readPageHashesHeader(reader.read)
    if (reader.left !== pageCount * HASH_BYTES)
      return refuse(`it has ${reader.left} bytes of hashes instead of ${pageCount * HASH_BYTES}`)
    const sum = new StateSum()
    const words = new Uint32Array(HASH_BYTES / 4)
    const bytes = new Uint8Array(words.buffer)
    for (let page = 1; page <= pageCount; ) {
      const some = await reader.read(Math.min(HASHES_AT_ONCE, pageCount - page + 1) * HASH_BYTES)
      for (let at = 0; at < some.length; at += HASH_BYTES) {
        bytes.set(some.subarray(at, at + HASH_BYTES))
        sum.add(page++, words)
      }
    }
    if (sum.state !== state) refuse(`its hashes add up to ${sum.state}, it tells ${state}`)
    return `has the hashes of ${pageCount} pages of ${pageSize} bytes`
  })
}

async function inspectBy(
  { name, body, plainBytes }: MemberToInspect,
  check: string,
  look: (reader: PieceReader) => Promise<string>,
): Promise<Finding[]> {
  const reader = new PieceReader(body, plainBytes)
  try {
    const found = await look(reader)
    await reader.end()
    return [{ check, severity: 'ok', message: `${name} ${found}.` }]
  } catch (error) {
    // What the body itself fails with is not about its format.
    if (!(error instanceof BackupError) || error.code !== 'MEMBER_DAMAGED' || body.errored) throw error
    return [{ check, severity: 'error', message: `${name}: ${error.message}` }]
  } finally {
    body.destroy()
  }
}

function refuse(why: string): never {
  throw new BackupError('MEMBER_DAMAGED', `It is not whole: ${why}.`)
}
