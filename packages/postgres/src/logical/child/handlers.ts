import { closeSync, openSync } from 'node:fs'
import { type JobHandlers, openChannel, sendCompressed, toBackupError, unpackMember } from '@taskflow-backup/core'
import { writeAll } from '../../child/write-all.ts'
import type { LogicalJobs, UnpackOrders } from '../jobs.ts'
import { supervise } from './supervise.ts'
import { packFolder, unpackTar } from './tar.ts'
import { loadZlibSync } from './zlib-sync.ts'

/** The jobs of logical backups and restores. */
export const logicalHandlers: JobHandlers<LogicalJobs> = {
  async dump({ program, compression }, { onProgress }) {
    const channel = openChannel()
    const { stdout, ended } = supervise(program, channel)
    async function* printed(): AsyncGenerator<Uint8Array> {
      yield* stdout as AsyncIterable<Buffer>
      // Its output ends in every case; only its code says that it ended where it should.
      await ended
    }
    try {
      return await sendCompressed(printed(), compression, channel, onProgress)
    } catch (error) {
      channel.destroy()
      await ended // the program's own reason is the better one
      throw error
    }
  },

  async runProgram(program) {
    const { stdout, ended } = supervise(program, openChannel())
    stdout.resume()
    await ended
    return null
  },

  packFolder: ({ folder, compression }, { onProgress }) =>
    sendCompressed(packFolder(folder), compression, openChannel(), onProgress),

  inspectDump: async ({ name, plainBytes }, { input }) =>
    (await import('../inspect/inspect.ts')).inspectDump(name, input(), plainBytes, loadZlibSync()),

  unpackDump: (orders, { input }) => unpack(orders, input()),
}

async function unpack({ member, to }: UnpackOrders, stored: ReturnType<typeof openChannel>): Promise<null> {
  const plain = unpackMember(member, stored, () => {}, { plainHashing: 'thread' }) // the parent tells how far it is
  try {
    if ('folder' in to) await unpackTar(plain, to.folder)
    else await writeTo(to.file, plain)
    return null
  } catch (error) {
    throw toBackupError(error, 'TARGET_INVALID', 'Cannot write the dump to a temporary file', {
      hint: 'Give the plan a `temporaryDirectory` with room for the whole dump, uncompressed.',
    })
  } finally {
    stored.destroy()
  }
}

/** Synchronously: the next pieces are decoded in the meantime, in libuv's pool. */
async function writeTo(file: string, plain: AsyncIterable<Buffer>): Promise<void> {
  const fd = openSync(file, 'wx', 0o600)
  try {
    for await (const piece of plain) writeAll(fd, piece)
  } finally {
    closeSync(fd)
  }
}
