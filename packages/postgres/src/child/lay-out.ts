import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  readdirSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { BackupError, type ManifestMember } from '@taskflow-backup/core'
import type { BackupToLay, LayOutInput, LayOutResult, Owner } from '../physical/lay-out-job.ts'
import { type ManifestFile, ManifestScanner } from '../physical/manifest-scanner.ts'
import { parseMemberName } from '../physical/member-names.ts'
import { parseLsn } from '../position.ts'
import { type BackupLabel, checkLabelFollows, parseBackupLabel, withoutIncrementalLines } from './backup-label.ts'
import { INCREMENTAL_PREFIX, IncrementalFile } from './incremental-file.ts'
import { WalFolder } from './lay-wal.ts'
import { MemberSource } from './member-source.ts'
import { syncTree } from './sync-tree.ts'
import { type EntryWriter, type ManifestFiles, makeFolder, unpackTar } from './unpack-tar.ts'
import { type CreatedTablespace, createdTablespaces } from './wal-scan.ts'

const MAX_SMALL_FILE_BYTES = 1024 * 1024

/**
 * Builds a data directory of the backups whose stored members come in on the channel: unpacks the full, brings it to
 * the state of each incremental one in place, and lays the log ready in `pg_wal`.
 */
export async function layOut(
  { dataDirectory, tablespaces, backups, owner, segmentBytes, sync }: LayOutInput,
  input: AsyncIterable<Buffer>,
): Promise<LayOutResult> {
  const source = new MemberSource(input)
  const cluster: Cluster = { dataDirectory, tablespaces, owner }
  makeFolder(dataDirectory, owner)
  for (const folder of Object.values(tablespaces)) makeFolder(folder, owner)
  let label: BackupLabel | undefined
  for (const backup of backups.filter(({ kind }) => kind !== 'log')) {
    label = await layBase(backup, label, cluster, source)
  }
  if (!label) throw new BackupError('CONTRACT_BROKEN', 'There is no base backup to lay out.')
  const wal = new WalFolder(join(dataDirectory, 'pg_wal'), segmentBytes, owner)
  for (const { members } of backups.filter(({ kind }) => kind === 'log')) {
    for (const member of members) await wal.lay(member, source)
  }
  wal.joinTimelines()
  const stretches = wal.stretches(Number(label.startTimeline), parseLsn(label.startLsn))
  refuseForeignPlaces(createdTablespaces(join(dataDirectory, 'pg_wal'), stretches, segmentBytes))
  const last = backups.findLast(({ kind }) => kind !== 'log') as BackupToLay
  linkTablespaces(cluster, new Set(last.members.slice(1).map(oidOf)))
  chmodSync(dataDirectory, 0o700)
  if (sync) for (const folder of [...Object.values(tablespaces), dataDirectory]) syncTree(folder)
  return { startLsn: label.startLsn, startTimeline: Number(label.startTimeline) }
}

interface Cluster {
  readonly dataDirectory: string
  readonly tablespaces: Readonly<Record<string, string>>
  readonly owner: Owner | undefined
}

/** Unpacks one base backup, over the one that it builds on if there is one. */
async function layBase(
  { id, members }: BackupToLay,
  before: BackupLabel | undefined,
  cluster: Cluster,
  source: MemberSource,
): Promise<BackupLabel> {
  const { dataDirectory, owner } = cluster
  const [manifest, ...tars] = members
  const files = await readManifest(source, manifest as ManifestMember)
  const seen = new Set<string>()
  const labelFile = collected('backup_label')
  const overOlder = before !== undefined
  const writerFor =
    (folder: string, prefix: string) =>
    (path: string, size: number): EntryWriter | undefined => {
      if (path === 'backup_label') return labelFile
      // The links are made here, and lead elsewhere than on the server.
      if (path === 'tablespace_map') return collected(path)
      const inside = path.slice(prefix.length)
      const name = basename(inside)
      if (overOlder && name.startsWith(INCREMENTAL_PREFIX)) {
        const plain = join(dirname(inside), name.slice(INCREMENTAL_PREFIX.length))
        seen.add(prefix + plain)
        return new IncrementalFile(join(folder, plain), path, size)
      }
      if (overOlder) rmSync(join(folder, inside), { force: true, recursive: true })
      return undefined
    }
  for (const tar of tars) {
    const oid = oidOf(tar)
    const folder = oid === '' ? dataDirectory : cluster.tablespaces[oid]
    if (folder === undefined) throw new BackupError('MEMBER_DAMAGED', `${id} has a tablespace ${oid} without a place.`)
    const prefix = oid === '' ? '' : `pg_tblspc/${oid}/`
    await unpackTar(source.open(tar), { folder, prefix, files, seen, owner, writerFor: writerFor(folder, prefix) })
  }
  refuseMissing(files, seen)
  if (overOlder) {
    removeUnseen(dataDirectory, '', seen)
    for (const [oid, folder] of Object.entries(cluster.tablespaces)) removeUnseen(folder, `pg_tblspc/${oid}/`, seen)
  }
  const text = labelFile.text()
  const label = parseBackupLabel(text)
  checkLabelFollows(label, before)
  writeLabel(join(dataDirectory, 'backup_label'), withoutIncrementalLines(text), owner)
  return label
}

async function readManifest(source: MemberSource, member: ManifestMember): Promise<ManifestFiles> {
  const files = new Map<string, ManifestFile>()
  // The scanner keeps bytes apart by latin1; paths are UTF-8.
  const scanner = new ManifestScanner(member.name, (file) =>
    files.set(Buffer.from(file.path, 'latin1').toString('utf8'), file),
  )
  for await (const piece of source.open(member)) scanner.update(piece)
  scanner.end()
  return files
}

/** The tablespace of a tar; empty for the data directory's own. */
function oidOf({ name }: ManifestMember): string {
  const member = parseMemberName(name)
  if (member?.kind === 'base') return ''
  if (member?.kind === 'tablespace') return member.oid
  throw new BackupError('MEMBER_DAMAGED', `A base backup has a member ${name}, which means nothing here.`)
}

/** Keeps a small file in memory. */
function collected(path: string): EntryWriter & { text(): string } {
  const pieces: Buffer[] = []
  let bytes = 0
  return {
    write(piece) {
      bytes += piece.length
      if (bytes > MAX_SMALL_FILE_BYTES) throw new BackupError('MEMBER_DAMAGED', `${path} is far too long.`)
      pieces.push(Buffer.from(piece))
    },
    end() {},
    close() {},
    text: () => Buffer.concat(pieces).toString('utf8'),
  }
}

function refuseMissing(files: ManifestFiles, seen: ReadonlySet<string>): void {
  for (const path of files.keys()) {
    if (!seen.has(path))
      throw new BackupError('MEMBER_DAMAGED', `${path} is in the server's manifest, but not in the archive.`)
  }
}

/** Removes what the older backup had and the newer one has not. */
function removeUnseen(folder: string, prefix: string, seen: ReadonlySet<string>): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = prefix + entry.name
    const target = join(folder, entry.name)
    if (!seen.has(path)) rmSync(target, { recursive: true, force: true })
    else if (entry.isDirectory()) removeUnseen(target, `${path}/`, seen)
  }
}

function writeLabel(file: string, text: string, owner: Owner | undefined): void {
  rmSync(file, { force: true })
  writeFileSync(file, text, { mode: 0o600, flag: 'wx' })
  if (owner) chownSync(file, owner.uid, owner.gid)
}

/**
 * Replaying the creation of a tablespace makes it at the path that it had on the server, and clears what is there: on the
 * machine of the live server that would be the live one's.
 *
 * @throws `TARGET_INVALID`
 */
function refuseForeignPlaces(created: readonly CreatedTablespace[]): void {
  for (const { oid, path } of created) {
    const names = existsSync(path) ? readdirSync(path) : []
    if (names.length === 0) continue
    throw new BackupError(
      'TARGET_INVALID',
      `The log makes the tablespace ${oid} at ${path}, where there is something already: the live server's files, perhaps.`,
      { hint: 'Recover on another machine, or to a moment from the next full or differential backup on.' },
    )
  }
}

/** Makes the links of the tablespaces that are in use, and removes the places of those that were dropped since. */
function linkTablespaces({ dataDirectory, tablespaces, owner }: Cluster, used: ReadonlySet<string>): void {
  for (const [oid, folder] of Object.entries(tablespaces)) {
    if (!used.has(oid)) {
      rmdirSync(folder)
      continue
    }
    const link = join(dataDirectory, 'pg_tblspc', oid)
    symlinkSync(folder, link)
    if (owner) lchownSync(link, owner.uid, owner.gid)
  }
}
