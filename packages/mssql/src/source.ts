import type { AdapterContext, BackupKind, SourceFacts } from '@taskflow-backup/core'
import type { CheckedOptions } from './options.ts'
import {
  assertOnline,
  assertPermitted,
  assertRoom,
  assertSupported,
  estimateSize,
  readPermissions,
  roomOnServer,
  type SizeEstimate,
} from './preflight.ts'
import { readDatabase, readServer, type ServerFacts, toSourceFacts } from './server-facts.ts'
import { inSession, type SqlSession } from './session.ts'
import type { DatabaseFactsRow } from './statements/queries/databases.ts'
import type { PermissionsRow } from './statements/queries/server.ts'
import { onServer, temporaryName, WORK_ID_LENGTH } from './transfer/names.ts'
import { probeFolder, roomInFolder } from './transfer/probe.ts'
import { assertMayDelete } from './transfer/server-files.ts'

/** What is to be backed up, and by whom. */
export interface Source {
  readonly server: ServerFacts
  readonly database: DatabaseFactsRow
  readonly permissions: PermissionsRow
  readonly estimate: SizeEstimate | undefined
}

/**
 * Asks whether the server can make a backup of `kind`, and this login may. Without `kind`: any backup at all.
 *
 * @throws `SERVER_UNSUPPORTED`, `SOURCE_MISSING`, `SOURCE_UNREADABLE`, `SOURCE_BUSY`, `PRIVILEGE_MISSING`
 */
async function look(
  session: SqlSession,
  options: CheckedOptions,
  kind?: BackupKind,
): Promise<Omit<Source, 'estimate'>> {
  const server = await readServer(session)
  assertSupported(options, server)
  const database = await readDatabase(session, options.database)
  assertOnline(database)
  const permissions = await readPermissions(session, database.name)
  assertPermitted(kind, options, permissions, server)
  return { server, database, permissions }
}

/**
 * As {@link look}, and whether there is room for a backup of `kind`.
 *
 * @throws `STORAGE_FULL` and the codes of {@link look}
 */
export async function lookFor(
  kind: BackupKind,
  session: SqlSession,
  options: CheckedOptions,
  ctx: AdapterContext,
): Promise<Source> {
  const source = await look(session, options, kind)
  const estimate = await estimateSize(session, kind, source.database)
  if (!estimate) return { ...source, estimate }
  const { transfer, database } = options
  if (transfer.type === 'shared-folder') {
    const freeBytes = await roomInFolder(transfer.localDirectory)
    assertRoom(freeBytes, estimate, `The shared folder ${transfer.localDirectory}`, ctx.onWarning)
  } else if (transfer.type !== 'url') {
    const folder = transfer.serverDirectory
    const freeBytes = await roomOnServer(session, { database, folder }, source.permissions)
    assertRoom(freeBytes, estimate, `The volume of ${folder} on the server`, ctx.onWarning)
  }
  return { ...source, estimate }
}

/**
 * As {@link look}, and whether the bytes can come from there. What only some kinds need, the right to make fulls and room
 * for one, is asked for when such a backup is made.
 */
export async function describeSource(options: CheckedOptions, ctx: AdapterContext): Promise<SourceFacts> {
  return inSession(options, ctx.signal, async (session) => {
    const { server, database } = await look(session, options)
    await checkFolders(session, options, ctx)
    return toSourceFacts(server, database, {
      mode: 'mssql',
      serverName: server.serverName,
      edition: server.edition,
      recoveryModel: database.recoveryModel,
      compatibilityLevel: database.compatibilityLevel,
      ...(database.collation !== null && { collation: database.collation }),
    })
  })
}

async function checkFolders(session: SqlSession, { transfer }: CheckedOptions, ctx: AdapterContext): Promise<void> {
  if (transfer.type === 'shared-folder') await probeFolder(session, transfer, ctx)
  else if (transfer.type !== 'url')
    await assertMayDelete(
      session,
      onServer(transfer.serverDirectory, temporaryName(ctx.randomId(WORK_ID_LENGTH), 'bak')),
    )
}
