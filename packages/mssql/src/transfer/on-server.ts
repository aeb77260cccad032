import { Readable } from 'node:stream'
import { BackupError, type Member } from '@taskflow-backup/core'
import type { ScannedFile } from '../jobs.ts'
import type { Device } from '../statements/devices.ts'
import type { Delivery, DeliveryOrders, MadeBackup } from './delivery.ts'
import { extensionOf } from './extension.ts'
import { keptName, onServer } from './names.ts'
import { writeRecord } from './on-server-record.ts'
import type { OnServerTransfer, UrlTransfer } from './options.ts'
import { deleteOnServer } from './server-files.ts'

/** The backup stays where the server writes it; the member tells where that is. */
export function deliverOnServer(
  { request, workId, stripes }: DeliveryOrders,
  transfer: OnServerTransfer | UrlTransfer,
): Delivery {
  const kind = extensionOf(request.kind)
  const devices = Array.from({ length: stripes }, (_, index): Device => {
    const name = keptName(request.fileStem, workId, kind, index + 1, stripes)
    return transfer.type === 'url'
      ? { type: 'url', path: `${transfer.url.replace(/\/+$/, '')}/${name}` }
      : { type: 'disk', path: onServer(transfer.serverDirectory, name) }
  })

  async function* members({ row }: MadeBackup): AsyncGenerator<Member, readonly ScannedFile[], void> {
    const record = writeRecord({
      backup: request.id,
      kind: request.kind,
      database: row.databaseName,
      serverName: row.serverName,
      devices,
      ...(transfer.type === 'url' && transfer.credential !== undefined && { credential: transfer.credential }),
      bytes: row.bytes,
      backupSetGuid: row.backupSetGuid,
      firstLsn: row.firstLsn,
      lastLsn: row.lastLsn,
    })
    yield { name: `${request.fileStem}.json`, body: Readable.from([record], { objectMode: false }) }
    return []
  }

  return {
    devices,
    stays: true,
    members,
    async discard(session) {
      if (transfer.type === 'url') {
        throw new BackupError('STORAGE_FAILED', 'SQL Server cannot delete at a URL.', {
          hint: `Delete there by hand, or with a rule of the store: ${devices.map(({ path }) => path).join(', ')}`,
        })
      }
      for (const { path } of devices) await deleteOnServer(session, path)
    },
  }
}
