import { rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { addAbortSignal } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import {
  type AdapterContext,
  BackupError,
  feedJob,
  type ManifestMember,
  type OpenBackup,
  throwIfAborted,
  toBackupError,
} from '@taskflow-backup/core'
import { unpackBackup } from '../child/unpack-backup.ts'
import { startJob } from '../child-process.ts'
import type { CheckedOptions } from '../options.ts'
import type { Device } from '../statements/devices.ts'
import { extensionOf } from '../transfer/extension.ts'
import { onServer, temporaryName } from '../transfer/names.ts'
import { MOST_RECORD_BYTES, readRecord } from '../transfer/on-server-record.ts'
import type { SharedFolder, Transfer } from '../transfer/options.ts'
import { deleteOnServer } from '../transfer/server-files.ts'
import type { RestoreWork } from './work.ts'

/** A backup where the server can read it. */
export interface Supplied {
  readonly devices: readonly Device[]
  readonly credential?: string
  /** Removes what was put there for the server. */
  remove(): Promise<void>
}

const DEFAULT_FILE_MODE = 0o640
/** A member up to this size is decoded here, as most logs are; a child takes longer to start. */
const SMALL_BYTES = 1024 * 1024

/**
 * Puts the files of one backup where the server can read them: whole, and checked against the manifest before the
 * server sees them. A backup that stayed on the server is there already.
 *
 * @throws `TARGET_INVALID` when there is no shared folder, or no room in it; `MEMBER_DAMAGED`
 */
export async function supply(
  { transfer }: CheckedOptions,
  work: RestoreWork,
  backup: OpenBackup,
  ctx: AdapterContext,
): Promise<Supplied> {
  const { id, kind, members } = backup.manifest
  const record = members.find(({ name }) => name.endsWith('.json'))
  if (record) return readOnServer(backup, record)
  const files = members.filter(({ name }) => /\.(bak|trn)$/.test(name))
  if (files.length === 0) throw new BackupError('MEMBER_DAMAGED', `${id} has no member that SQL Server could read.`)
  const { serverDirectory, localDirectory, fileMode } = sharedFolderOf(transfer)
  await refuseFullDisk(localDirectory, files)
  const names = files.map((_, index) => temporaryName(work.id, extensionOf(kind), index + 1, files.length))
  const remove = async (): Promise<void> => {
    for (const name of names) {
      try {
        await rm(join(localDirectory, name), { force: true })
      } catch {
        await deleteOnServer(await work.session(), onServer(serverDirectory, name))
      }
    }
  }
  try {
    for (const [index, member] of files.entries())
      await unpack(backup, member, { file: join(localDirectory, names[index] as string), fileMode }, ctx)
  } catch (error) {
    await remove().catch((problem: Error) => ctx.onWarning(`A file in ${localDirectory} is left: ${problem.message}`))
    throw error
  }
  return { devices: names.map((name) => ({ type: 'disk', path: onServer(serverDirectory, name) })), remove }
}

/** The folder that files for the server go through. */
export function findSharedFolder(transfer: Transfer): SharedFolder | undefined {
  if (transfer.type === 'shared-folder') return transfer
  return transfer.type === 'read-back' ? transfer.restoreThrough : undefined
}

function sharedFolderOf(transfer: Transfer): SharedFolder & { readonly fileMode: number } {
  const folder = findSharedFolder(transfer)
  if (folder) return { fileMode: DEFAULT_FILE_MODE, ...folder }
  throw new BackupError('TARGET_INVALID', `Nothing can be sent to the server with the transfer "${transfer.type}".`, {
    hint:
      transfer.type === 'read-back'
        ? 'Give `transfer.restoreThrough`: a folder that this process and the server both see.'
        : 'Restore with an adapter whose transfer is "shared-folder".',
  })
}

async function readOnServer(backup: OpenBackup, { name, plain }: ManifestMember): Promise<Supplied> {
  if (plain.bytes > MOST_RECORD_BYTES)
    throw new BackupError('MEMBER_DAMAGED', `${name} has ${plain.bytes} bytes, more than it may.`)
  const { devices, credential } = readRecord(name, await buffer(await backup.open(name)))
  return { devices, ...(credential !== undefined && { credential }), async remove() {} }
}

async function refuseFullDisk(folder: string, files: readonly ManifestMember[]): Promise<void> {
  const needed = files.reduce((sum, { plain }) => sum + plain.bytes, 0)
  let room: number
  try {
    const { bavail, bsize } = await statfs(folder)
    room = bavail * bsize
  } catch (thrown) {
    throw toBackupError(thrown, 'TARGET_INVALID', `Cannot use \`localDirectory\` ${folder}`)
  }
  if (room >= needed) return
  throw new BackupError('TARGET_INVALID', `${folder} has no room for ${needed} bytes.`, {
    hint: 'Free space in the shared folder: it holds one backup at a time, uncompressed.',
  })
}

async function unpack(
  backup: OpenBackup,
  member: ManifestMember,
  { file, fileMode }: { readonly file: string; readonly fileMode: number },
  ctx: AdapterContext,
): Promise<void> {
  throwIfAborted(ctx.signal)
  const stored = await backup.openStored(member.name)
  if (member.plain.bytes <= SMALL_BYTES) {
    addAbortSignal(ctx.signal, stored)
    try {
      await unpackBackup({ file, member, fileMode }, stored)
    } catch (error) {
      throwIfAborted(ctx.signal)
      throw error
    }
    return
  }
  await feedJob(stored, startJob('unpackBackup', { file, member, fileMode }, ctx))
}
