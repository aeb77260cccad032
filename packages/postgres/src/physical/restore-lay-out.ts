import type { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { type AdapterContext, BackupError, borrow, type OpenBackup, toBackupError } from '@taskflow-backup/core'
import { startJob } from '../child-process.ts'
import { inLayingOrder, type LayOutInput, type LayOutResult } from './lay-out-job.ts'

/**
 * Lets a child build a data directory of the backups, while this process only hands the stored bytes on.
 *
 * @throws `MEMBER_DAMAGED`, `TARGET_INVALID`, `CHILD_FAILED`, `ABORTED`, and the codes of storages
 */
export async function layOutBackups(
  backups: readonly OpenBackup[],
  settings: Omit<LayOutInput, 'backups'>,
  ctx: AdapterContext,
): Promise<LayOutResult> {
  const toLay = backups.map(({ manifest }) => ({
    id: manifest.id,
    kind: manifest.kind,
    members: inLayingOrder(manifest.members),
  }))
  const job = startJob('layOut', { ...settings, backups: toLay }, ctx)
  const [sent, laid] = await Promise.allSettled([sendAll(storedBytes(backups), job.channel), job.result])
  // A storage that failed is the reason for whatever the child says about what it got.
  if (sent.status === 'rejected' && sent.reason instanceof BackupError) throw sent.reason
  if (laid.status === 'rejected') throw laid.reason
  if (sent.status === 'rejected') throw toBackupError(sent.reason, 'CHILD_FAILED', 'Cannot hand the backup on')
  return laid.value
}

/** The pieces are lent: each is on its way before the next one is asked for. */
async function sendAll(pieces: AsyncIterable<Uint8Array>, channel: Writable): Promise<void> {
  try {
    for await (const piece of pieces) {
      await new Promise<void>((resolve, reject) => {
        channel.write(piece, (error) => (error ? reject(error) : resolve()))
      })
    }
    await finished(channel.end(), { readable: false })
  } catch (error) {
    channel.destroy()
    throw error
  }
}

/** The stored members one after another; the child finds their borders by the lengths in the manifests. */
async function* storedBytes(backups: readonly OpenBackup[]): AsyncGenerator<Uint8Array> {
  for (const backup of backups) {
    for (const { name, file, stored } of inLayingOrder(backup.manifest.members)) {
      let bytes = 0
      for await (const piece of borrow(await backup.openStored(name))) {
        bytes += piece.length
        if (bytes > stored.bytes) break
        yield piece
      }
      if (bytes === stored.bytes) continue
      const told = bytes > stored.bytes ? 'more' : String(bytes)
      throw new BackupError('MEMBER_DAMAGED', `${file} has ${told} stored bytes, its manifest says ${stored.bytes}.`)
    }
  }
}
