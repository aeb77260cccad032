import type { Socket } from 'node:net'
import { BackupError, toBackupError } from '@taskflow-backup/core'
import type { ReplicationConnection } from '../replication/connection.ts'

/** Hands the manifest of the full, which the parent sends, to the server, so that it knows what we have. */
export async function uploadManifest(connection: ReplicationConnection, channel: Socket, bytes: number): Promise<void> {
  await connection.run('UPLOAD_MANIFEST', {
    onCopyIn() {
      pump(connection, channel, bytes).then(
        () => connection.sendDone(),
        (error: unknown) => {
          connection.sendFail('the manifest did not come')
          connection.destroy(toBackupError(error, 'CHILD_FAILED', 'The manifest of the full did not come'))
        },
      )
    },
  })
}

async function pump(connection: ReplicationConnection, channel: Socket, bytes: number): Promise<void> {
  let left = bytes
  while (left > 0) {
    const piece = (channel.read(Math.min(left, channel.readableLength)) ?? (await more(channel))) as Buffer | undefined
    if (!piece) continue
    left -= piece.length
    await connection.send(piece)
  }
}

/** Waits until there is something to read. */
async function more(channel: Socket): Promise<undefined> {
  if (channel.readableLength > 0) return undefined
  await new Promise<void>((resolve, reject) => {
    const done = (): void => {
      channel.off('readable', done).off('end', ended).off('close', ended)
      resolve()
    }
    // One that breaks is closed without an end.
    const ended = (): void => reject(new BackupError('CHILD_FAILED', 'The channel ended.'))
    if (channel.readableEnded || channel.destroyed) return ended()
    channel.once('readable', done).once('end', ended).once('close', ended)
  })
  return undefined
}
