import { chownSync, closeSync, fchownSync, lstatSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { BackupError, toBackupError } from '@taskflow-backup/core'
import { extract } from 'tar-stream'
import { fileChecksum } from '../physical/file-checksum.ts'
import type { Owner } from '../physical/lay-out-job.ts'
import type { ManifestFile } from '../physical/manifest-scanner.ts'
import { entryPath } from './entry-path.ts'

/** What the server said that it sent, by path. */
export type ManifestFiles = ReadonlyMap<string, ManifestFile>

/** Where the content of one entry goes. */
export interface EntryWriter {
  write(piece: Buffer): void
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
 * byte, what the server's manifest says.
 *
 * @throws `MEMBER_DAMAGED`, and what the file system throws
 */
export async function unpackTar(tar: Readable, options: UnpackOptions): Promise<void> {
  const entries = extract()
  const [sent, unpacked] = await Promise.allSettled([pipeline(tar, entries), unpackEntries(entries, options)])
  // When the member itself is damaged, that is the reason for whatever the entries look like.
  if (sent.status === 'rejected' && sent.reason instanceof BackupError) throw sent.reason
  if (unpacked.status === 'rejected') throw toTarError(unpacked.reason)
  if (sent.status === 'rejected') throw toTarError(sent.reason)
}

async function unpackEntries(entries: ReturnType<typeof extract>, options: UnpackOptions): Promise<void> {
  const { folder, prefix, seen, owner } = options
  for await (const entry of entries) {
    const { name, type, size = 0 } = entry.header
    const inside = entryPath(name)
    if (inside === '' && type === 'directory') {
      entry.resume()
      continue
    }
    const path = prefix + inside
    if (inside === '' || seen.has(path)) throw refused(name, 'twice')
    seen.add(path)
    const target = join(folder, inside)
    if (type === 'directory') {
      makeFolder(target, owner)
      entry.resume()
    } else if (type === 'symlink' && LINK.test(path)) {
      entry.resume()
    } else if (type === 'file') {
      await unpackFile(
        entry as AsyncIterable<Buffer>,
        path,
        options.writerFor?.(path, size) ?? newFile(target, owner),
        options,
      )
    } else {
      throw refused(name, `as ${type ?? 'something unknown'}`)
    }
  }
}

const refused = (name: string, how: string): BackupError =>
  new BackupError('MEMBER_DAMAGED', `The archive has an entry ${JSON.stringify(name)} ${how}.`)

async function unpackFile(
  body: AsyncIterable<Buffer>,
  path: string,
  writer: EntryWriter,
  { files }: UnpackOptions,
): Promise<void> {
  try {
    const expected = files.get(path)
    if (!expected && !WITHOUT_CHECKSUM.test(path)) throw refused(path, 'that the server did not list')
    const checksum = expected && fileChecksum(expected.algorithm)
    let bytes = 0
    for await (const piece of body) {
      checksum?.update(piece)
      bytes += piece.length
      writer.write(piece)
    }
    if (expected && checksum) compare(path, expected, bytes, checksum.digest())
    writer.end()
  } finally {
    writer.close()
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
      for (let at = 0; at < piece.length; ) at += writeSync(fd, piece, at)
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
