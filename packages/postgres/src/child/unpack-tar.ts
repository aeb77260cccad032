import { chownSync, closeSync, fchownSync, lstatSync, mkdirSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { BackupError, toBackupError } from '@taskflow-backup/core'
import { type FileChecksum, fileChecksum } from '../physical/file-checksum.ts'
import type { Owner } from '../physical/lay-out-job.ts'
import type { ManifestFile } from '../physical/manifest-scanner.ts'
import { type TarEntry, TarScanner } from '../physical/tar-scanner.ts'
import { entryPath } from './entry-path.ts'
import { writeAll } from './write-all.ts'

/** What the server said that it sent, by path. */
export type ManifestFiles = ReadonlyMap<string, ManifestFile>

/** Where the content of one entry goes. */
export interface EntryWriter {
  /** Is done with the piece when it returns. */
  write(piece: Uint8Array): void
  /** All has been written. */
  end(): void
  /** Lets go of what is open; harmless after `end`. */
  close(): void
}

export interface UnpackOptions {
  /** Folder that exists; nothing is written outside of it. */
  readonly folder: string
  /** What the paths of `files` begin with: empty for the data directory, `pg_tblspc/<oid>/` for a tablespace. */
  readonly prefix: string
  /** What the server said that it sent. */
  readonly files: ManifestFiles
  /** Gets the path, with the prefix, of everything that was unpacked. */
  readonly seen: Set<string>
  readonly owner: Owner | undefined
  /** Takes over an entry that is not simply written to a file of its name. */
  readonly writerFor?: (path: string, size: number) => EntryWriter | undefined
}

/** The server gives no checksums of its log. */
const WITHOUT_CHECKSUM = /^pg_wal\//
const LINK = /^pg_tblspc\/\d+$/

/**
 * Unpacks a tar of a base backup. Refused are paths that lead out of the folder, entries that come twice, links other
 * than those of tablespaces (which are left out: the caller makes them), devices, and every file that is not, to the
 * byte, what the server's manifest says. `tar` may reuse a piece when the next one is asked for.
 *
 * @throws `MEMBER_DAMAGED`, and `TARGET_INVALID` for what the file system says
 */
export async function unpackTar(tar: AsyncIterable<Uint8Array>, options: UnpackOptions): Promise<void> {
  let file: UnpackedFile | undefined
  const scanner = new TarScanner('The archive', {
    onEntry: (entry) => {
      file = beginEntry(entry, options)
    },
    onContent: (piece) => file?.write(piece),
    onEntryEnd: () => {
      file?.end()
      file = undefined
    },
  })
  try {
    // All of it synchronous: the next pieces are decoded in the meantime, in libuv's pool.
    for await (const piece of tar) scanner.update(piece)
    scanner.end()
  } catch (error) {
    throw toTarError(error)
  } finally {
    file?.close()
  }
}

/** Takes an entry in hand; gives where its content goes, if it has one that is wanted. */
function beginEntry({ name: latin1, type, sizeBytes }: TarEntry, options: UnpackOptions): UnpackedFile | undefined {
  const { folder, prefix, seen, owner, files } = options
  const name = Buffer.from(latin1, 'latin1').toString('utf8')
  const inside = entryPath(name)
  if (inside === '' && type === 'folder') return undefined
  const path = prefix + inside
  if (inside === '' || seen.has(path)) throw refused(name, 'twice')
  seen.add(path)
  const target = join(folder, inside)
  if (type === 'folder') makeFolder(target, owner)
  else if (type === 'link' && !LINK.test(path)) throw refused(name, 'as a link')
  if (type !== 'file') return undefined
  const expected = files.get(path)
  if (!expected && !WITHOUT_CHECKSUM.test(path)) throw refused(path, 'that the server did not list')
  return new UnpackedFile(path, expected, options.writerFor?.(path, sizeBytes) ?? newFile(target, owner))
}

const refused = (name: string, how: string): BackupError =>
  new BackupError('MEMBER_DAMAGED', `The archive has an entry ${JSON.stringify(name)} ${how}.`)

/** A file on its way to the disk, held against what the server said of it. */
class UnpackedFile {
  readonly #path: string
  readonly #expected: ManifestFile | undefined
  readonly #checksum: FileChecksum | undefined
  readonly #writer: EntryWriter
  #bytes = 0

  constructor(path: string, expected: ManifestFile | undefined, writer: EntryWriter) {
    this.#path = path
    this.#expected = expected
    this.#checksum = expected && fileChecksum(expected.algorithm)
    this.#writer = writer
  }

  write(piece: Uint8Array): void {
    this.#checksum?.update(piece)
    this.#bytes += piece.length
    this.#writer.write(piece)
  }

  end(): void {
    if (this.#expected && this.#checksum) compare(this.#path, this.#expected, this.#bytes, this.#checksum.digest())
    this.#writer.end()
  }

  close(): void {
    this.#writer.close()
  }
}

function compare(path: string, expected: ManifestFile, bytes: number, checksum: string): void {
  if (bytes !== expected.sizeBytes) {
    throw new BackupError(
      'MEMBER_DAMAGED',
      `${path} has ${bytes} bytes, the server's manifest says ${expected.sizeBytes}.`,
    )
  }
  if (checksum !== expected.checksum)
    throw new BackupError(
      'MEMBER_DAMAGED',
      `${path} has another ${expected.algorithm} than the server's manifest says.`,
    )
}

function newFile(path: string, owner: Owner | undefined): EntryWriter {
  // Never follows a link, never opens what is there.
  const fd = openSync(path, 'wx', 0o600)
  if (owner) fchownSync(fd, owner.uid, owner.gid)
  let open = true
  const close = (): void => {
    if (open) closeSync(fd)
    open = false
  }
  return {
    write(piece) {
      writeAll(fd, piece)
    },
    end: close,
    close,
  }
}

/** A folder that only its owner may enter; one that is there is taken as it is. */
export function makeFolder(path: string, owner: Owner | undefined): void {
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    const there = lstatSync(path, { throwIfNoEntry: false })
    if (!there?.isDirectory()) throw error
    return
  }
  if (owner) chownSync(path, owner.uid, owner.gid)
}

function toTarError(thrown: unknown): BackupError {
  const ofSystem = typeof (thrown as NodeJS.ErrnoException)?.code === 'string'
  return toBackupError(
    thrown,
    ofSystem ? 'TARGET_INVALID' : 'MEMBER_DAMAGED',
    ofSystem ? 'Cannot write the restored cluster' : 'The archive cannot be read',
  )
}
