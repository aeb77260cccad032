import { open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { toBackupError, unpackMember } from '@taskflow-backup/core'
import type { Jobs } from '../jobs.ts'

/** Decodes a stored member, checks it against its manifest, and writes it to a new file that the server may read. */
export async function unpackBackup(
  { file, member, fileMode }: Jobs['unpackBackup']['input'],
  stored: Readable,
): Promise<null> {
  const plain = unpackMember(member, stored, () => {}) // the parent tells how far it is
  try {
    const handle = await open(file, 'wx', fileMode)
    try {
      await handle.chmod(fileMode) // the umask took away what the server needs
      for await (const piece of plain) {
        for (let at = 0; at < piece.length; ) at += (await handle.write(piece, at)).bytesWritten
      }
      await handle.sync()
    } finally {
      await handle.close()
    }
    return null
  } catch (error) {
    throw toBackupError(error, 'TARGET_INVALID', `Cannot write ${file}`, {
      hint: 'The shared folder needs room for the whole backup, uncompressed, and this process must be allowed to write there.',
    })
  } finally {
    stored.destroy()
  }
}
