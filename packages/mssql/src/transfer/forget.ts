import { type AdapterContext, BackupError, type Manifest } from '@taskflow-backup/core'
import { readDetails } from '../details.ts'
import type { CheckedOptions } from '../options.ts'
import { inSession } from '../session.ts'
import { isKeptName } from './names.ts'
import { deleteOnServer } from './server-files.ts'

/**
 * Removes what a backup keeps on the server; nothing for one whose bytes are in the destinations.
 *
 * @throws the server's reason when a file is still there
 */
export async function forgetBackup(options: CheckedOptions, manifest: Manifest, ctx: AdapterContext): Promise<void> {
  const { devices = [], transfer } = readDetails(manifest)
  if (devices.length === 0) return
  if (transfer === 'url') {
    // Failing would keep the backup in the catalogue for ever.
    ctx.onWarning(
      `SQL Server cannot delete at a URL; delete it there by hand, or with a rule of the store: ${devices.join(', ')}`,
    )
    return
  }
  // A manifest comes from a storage: nothing else on the server is deleted because one says so.
  const foreign = devices.find((path) => !isKeptName(path))
  if (foreign !== undefined)
    throw new BackupError(
      'MANIFEST_DAMAGED',
      `The manifest of ${manifest.id} names a file that is none of ours: ${foreign}`,
    )
  await inSession(options, ctx.signal, async (session) => {
    for (const path of devices) await deleteOnServer(session, path)
  })
}
