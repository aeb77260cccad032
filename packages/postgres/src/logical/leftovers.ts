import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { type AdapterContext, folderOwner, isAbandonedFolder } from '@taskflow-backup/core'
import { type ConnectionSettings, resolveConnection } from '../connection.ts'
import type { CheckedOptions } from '../options.ts'
import { isStagingName } from './names.ts'
import {
  dropDatabase,
  endProgramSessions,
  findDatabase,
  isAbandoned,
  listDatabases,
  parseMark,
} from './server-databases.ts'
import { inMaintenance, type Session } from './session.ts'
import { FOLDER_PREFIX, type FolderFacts } from './work-folder.ts'

/**
 * Removes what killed backups and restores left: databases that were being restored, sessions of their programs, and
 * temporary files. Only what belongs to a process that has ended. A server that does not answer is a warning.
 */
export async function removeLeftovers(
  options: CheckedOptions,
  undiscarded: Set<string>,
  ctx: AdapterContext,
): Promise<string[]> {
  const folders = await abandonedFolders(ctx)
  const settings = await resolveConnection(options.connection)
  const removed: string[] = []
  let reached = true
  try {
    await inMaintenance(settings, [], ctx.signal, async (session) => {
      removed.push(...(await removeDatabases(session, { settings, folders, undiscarded }, ctx)))
    })
  } catch (error) {
    reached = false
    ctx.onWarning(`Could not look for left-over databases: ${error instanceof Error ? error.message : String(error)}`)
  }
  for (const { path, owner } of folders) {
    // It is the only trace of a database that has no mark of its own yet.
    if (!reached && owner?.staging !== undefined) continue
    await fs.rm(path, { recursive: true, force: true })
    removed.push(path)
  }
  return removed
}

interface AbandonedFolder {
  readonly path: string
  readonly owner: FolderFacts | undefined
}

async function abandonedFolders({ temporaryDirectory }: AdapterContext): Promise<AbandonedFolder[]> {
  const found: AbandonedFolder[] = []
  for (const name of await fs.readdir(temporaryDirectory).catch((): string[] => [])) {
    if (!name.startsWith(FOLDER_PREFIX)) continue
    const path = join(temporaryDirectory, name)
    const stat = await fs.stat(path).catch(() => undefined)
    if (!stat?.isDirectory() || (process.getuid && stat.uid !== process.getuid())) continue
    if (await isAbandonedFolder(path)) found.push({ path, owner: await folderOwner<FolderFacts>(path) })
  }
  return found
}

interface Leftovers {
  readonly settings: ConnectionSettings
  readonly folders: readonly AbandonedFolder[]
  readonly undiscarded: Set<string>
}

async function removeDatabases(
  session: Session,
  { settings, folders, undiscarded }: Leftovers,
  ctx: AdapterContext,
): Promise<string[]> {
  const removed: string[] = []
  const drop = async (name: string): Promise<void> => {
    try {
      await dropDatabase(session, name)
      removed.push(`database ${name}`)
      undiscarded.delete(name)
    } catch (error) {
      ctx.onWarning(`Could not drop ${name}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  for (const { owner } of folders) {
    if (!owner || owner.server !== `${settings.host}:${settings.port}`) continue
    // Programs that outlived their app would go on writing; the database that they write to is made no more.
    await endProgramSessions(session, owner.applicationName)
    const { staging } = owner
    if (staging === undefined || !isStagingName(staging)) continue
    const database = await findDatabase(session, staging)
    if (database && database.comment === null) await drop(staging)
  }
  for (const { name, comment } of await listDatabases(session)) {
    const mark = isStagingName(name) ? parseMark(comment) : undefined
    if (undiscarded.has(name) || (mark && (await isAbandoned(session, name, mark, ctx.now())))) await drop(name)
  }
  return removed
}
