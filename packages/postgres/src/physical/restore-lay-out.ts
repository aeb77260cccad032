import { type AdapterContext, BackupError, borrow, feedJob, LentBody, type OpenBackup } from '@taskflow-backup/core'
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
  return feedJob(new LentBody(storedBytes(backups)), job)
}

/** The stored members one after another, in pieces that are lent; the child finds their borders by the lengths in the manifests. */
async function* storedBytes(backups: readonly OpenBackup[]): AsyncGenerator<Uint8Array, void, void> {
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
