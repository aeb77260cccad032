import { open } from 'node:fs/promises'
import { Socket } from 'node:net'
import { decodeMember, toBackupError } from '@taskflow-backup/core'
import type { Jobs } from '../jobs.ts'
import { CHANNEL_FD } from './channel.ts'

/** Decodes the stored member that comes in on the channel, checks it against its manifest, and writes it to a new file. */
export async function unpack({ file, member }: Jobs['unpack']['input']): Promise<null> {
  const stored = new Socket({ fd: CHANNEL_FD, readable: true, writable: false })
  const plain = decodeMember(member, stored, () => {}) // the parent tells how far it is
  try {
    const handle = await open(file, 'wx', 0o600)
    try {
      for await (const piece of plain as AsyncIterable<Buffer>) {
        for (let at = 0; at < piece.length; ) at += (await handle.write(piece, at)).bytesWritten
      }
      await handle.sync()
    } finally {
      await handle.close()
    }
    return null
  } catch (error) {
    throw toBackupError(error, 'TARGET_INVALID', `Cannot write ${file}`)
  } finally {
    plain.destroy()
  }
}
