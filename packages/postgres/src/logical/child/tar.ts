import { closeSync, createReadStream, mkdirSync, openSync } from 'node:fs'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { BackupError, toBackupError } from '@taskflow-backup/core'
import { pack } from 'tar-stream'
import { writeAll } from '../../child/write-all.ts'
import { TarScanner } from '../../physical/tar-scanner.ts'
import { isDumpFile } from '../directory-format.ts'

/** A tar of the files that `pg_dump --format=directory` made: the table of contents first, then by name. */
export async function* packFolder(folder: string): AsyncGenerator<Uint8Array> {
  const names = (await fs.readdir(folder)).sort(byPlace)
  const tar = pack()
  const filled = fill(tar, folder, names)
  filled.catch((error: Error) => tar.destroy(error))
  yield* tar as AsyncIterable<Buffer>
  await filled
}

async function fill(tar: ReturnType<typeof pack>, folder: string, names: readonly string[]): Promise<void> {
  for (const name of names) {
    if (!isDumpFile(name)) throw new BackupError('PROGRAM_FAILED', `pg_dump made an unexpected file: ${name}.`)
    const path = join(folder, name)
    const { size } = await fs.stat(path)
    // One date for all: the tar of the same dump is the same tar.
    const entry = tar.entry({ name, size, mode: 0o600, mtime: new Date(0), type: 'file' })
    await pipeline(createReadStream(path, { highWaterMark: 512 * 1024 }), entry)
  }
  tar.finalize()
}

/** Whoever reads the tar from its begin meets a list of files before the files that it lists. */
function byPlace(a: string, b: string): number {
  const place = (name: string): number => (name === 'toc.dat' ? 0 : name.endsWith('.toc') ? 1 : 2)
  return place(a) - place(b) || (a < b ? -1 : 1)
}

/**
 * Writes the files of a tar into a new folder. Only plain files with the names that `pg_dump` gives are taken. `source`
 * may reuse a piece when the next one is asked for.
 */
export async function unpackTar(source: AsyncIterable<Uint8Array>, folder: string): Promise<void> {
  let fd: number | undefined
  const close = (): void => {
    if (fd !== undefined) closeSync(fd)
    fd = undefined
  }
  const tar = new TarScanner('The dump', {
    onEntry({ name, type }) {
      if (type !== 'file' || !isDumpFile(name))
        throw new BackupError('MEMBER_DAMAGED', `The tar has an entry that does not belong there: ${name}.`)
      fd = openSync(join(folder, name), 'wx', 0o600)
    },
    onContent: (piece) => writeAll(fd as number, piece),
    onEntryEnd: close,
  })
  try {
    mkdirSync(folder, { mode: 0o700 })
    for await (const piece of source) tar.update(piece)
    tar.end()
  } catch (error) {
    throw toBackupError(error, 'TARGET_INVALID', `Cannot write into ${folder}`)
  } finally {
    close()
  }
}
