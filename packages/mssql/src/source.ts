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
import type { DatabaseFactsRow, PermissionsRow } from './statements/queries.ts'
import { onServer, temporaryName, WORK_ID_LENGTH } from './transfer/names.ts'
import { probeFolder } from './transfer/probe.ts'
import { assertMayDelete } from './transfer/server-files.ts'

/** What is to be backed up, and by whom. */
export interface Source {
  readonly server: ServerFacts
  readonly database: DatabaseFactsRow
  readonly permissions: PermissionsRow
  readonly estimate: SizeEstimate | undefined
}

/**
 * Asks whether the server can make a backup of `kind`, and this login may.
 *
 * @throws `SERVER_UNSUPPORTED`, `SOURCE_MISSING`, `SOURCE_UNREADABLE`, `SOURCE_BUSY`, `PRIVILEGE_MISSING`
 */
export async function look(session: SqlSession, options: CheckedOptions, kind: BackupKind): Promise<Source> {
  const server = await readServer(session)
  assertSupported(options, server)
  const database = await readDatabase(session, options.database)
  assertOnline(database)
  const permissions = await readPermissions(session, database.name)
  assertPermitted(kind, options, permissions, server)
  return { server, database, permissions, estimate: await estimateSize(session, kind, database) }
}

/** As {@link look}, and whether the bytes can come from there: folders and the room in them. */
export async function describeSource(options: CheckedOptions, ctx: AdapterContext): Promise<SourceFacts> {
  return inSession(options, ctx.signal, async (session) => {
    const source = await look(session, options, 'full')
    await checkFolders(session, options, source, ctx)
    const { server, database } = source
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

async function checkFolders(
  session: SqlSession,
  { transfer, database }: CheckedOptions,
  { permissions, estimate }: Source,
  ctx: AdapterContext,
): Promise<void> {
  if (transfer.type === 'shared-folder') {
    const freeBytes = await probeFolder(session, transfer, ctx)
    assertRoom(freeBytes, estimate, `The shared folder ${transfer.localDirectory}`, ctx.onWarning)
  } else if (transfer.type !== 'url') {
    const folder = transfer.serverDirectory
    await assertMayDelete(session, onServer(folder, temporaryName(ctx.randomId(WORK_ID_LENGTH), 'bak')))
    const freeBytes = await roomOnServer(session, { database, folder }, permissions)
    assertRoom(freeBytes, estimate, `The volume of ${folder} on the server`, ctx.onWarning)
  }
}
