import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import {
  type AdapterContext,
  BackupError,
  feedJob,
  type ManifestMember,
  type OpenBackup,
  type RestoreRequest,
  type StagedRestore,
  throwIfAborted,
} from '@taskflow-backup/core'
import { startJob } from '../child-process.ts'
import { type ConnectionSettings, resolveConnection } from '../connection.ts'
import type { CheckedOptions } from '../options.ts'
import { checkRestored } from './check.ts'
import { removeLeftovers } from './leftovers.ts'
import { load, type Staging } from './load.ts'
import { stagingName } from './names.ts'
import { type ProgramRun, programRun } from './program-run.ts'
import { type ClientPrograms, findPrograms } from './programs.ts'
import { dropDatabase, endProgramSessions, markStaging } from './server-databases.ts'
import { inMaintenance, inSession } from './session.ts'
import { createDatabase, type LogicalDetails, readServer } from './source.ts'
import { swapDatabases } from './swap.ts'
import { assertEmpty, checkServer, checkTarget, type RestorePlace } from './target.ts'

/** Restores into a new database beside the target, on the same server. */
export async function stageRestore(
  options: CheckedOptions,
  request: RestoreRequest,
  undiscarded: Set<string>,
  ctx: AdapterContext,
): Promise<StagedRestore> {
  throwIfAborted(ctx.signal)
  const { backup, details } = readBackup(request)
  const settings = await resolveConnection(options.connection)
  const place = await checkTarget(settings, request, details, ctx)
  // What a killed restore left goes with the next one.
  await removeLeftovers(options, undiscarded, ctx)
  const staging = stagingName(place.name ?? settings.database, ctx.randomId(12))
  const run = programRun(settings, ctx, staging)
  const never = new AbortController().signal
  const discard = async (): Promise<void> => {
    try {
      await inMaintenance(settings, [staging], never, async (session) => {
        await endProgramSessions(session, run.applicationName)
        await dropDatabase(session, staging)
      })
      undiscarded.delete(staging)
    } catch (error) {
      undiscarded.add(staging)
      throw error
    } finally {
      await run.end()
    }
  }
  try {
    const programs = await makeStaging(options, { settings, staging, details }, run, ctx)
    const dump = await unpack(backup, details, await run.folder(), ctx)
    await load(options, { settings, staging, details }, { programs, dump, run }, ctx)
    await run.end()
  } catch (error) {
    await discard().catch((problem: Error) => ctx.onWarning(`${staging} could not be removed: ${problem.message}`))
    throw error
  }
  return {
    location: staging,
    check: (checkCtx) =>
      inSession({ ...settings, database: staging }, checkCtx.signal, (session) => checkRestored(session, details)),
    promote: (promoteCtx) => promote(settings, { staging, place, evenIfInUse: request.evenIfInUse }, promoteCtx),
    discard,
  }
}

function readBackup({ backups }: RestoreRequest): { backup: OpenBackup; details: LogicalDetails } {
  const [backup] = backups
  if (!backup || backups.length !== 1)
    throw new BackupError('CONTRACT_BROKEN', 'A logical restore needs exactly one full backup.')
  const { manifest } = backup
  const details = manifest.source.details as unknown as LogicalDetails | undefined
  if (details?.mode !== 'logical' || !manifest.method.startsWith('pg_dump-')) {
    throw new BackupError('ENGINE_MISMATCH', `${manifest.id} was made by ${manifest.method}, not by pg_dump.`, {
      hint: 'Restore it with an adapter of `mode: "physical"`.',
    })
  }
  return { backup, details }
}

/** Makes the empty database, with the mark of this process, once it is known that the server can take the backup. */
async function makeStaging(
  options: CheckedOptions,
  { settings, staging, details }: Staging,
  run: ProgramRun,
  ctx: AdapterContext,
): Promise<ClientPrograms> {
  return inMaintenance(settings, [staging], ctx.signal, async (session) => {
    const server = await readServer(session)
    const dumpedBy = Number.parseInt(details.clientVersion, 10) || 0
    // What pg_dump wrote an older pg_restore cannot read.
    const programs = await findPrograms(options.clientPrograms, Math.max(server.major, dumpedBy))
    const { owner } = await checkServer(session, details)
    // Until the database has its own mark, the folder tells whose it is; and who may be making it still.
    await run.folder()
    await session.rows("SELECT set_config('application_name', $1, false)", [run.applicationName])
    await session.rows(createDatabase(staging, details.database, owner, server.major))
    await markStaging(session, staging, ctx.now())
    return programs
  })
}

/** The dump on the disk, whole and checked: the server sees nothing of a damaged one. */
async function unpack(
  backup: OpenBackup,
  { format }: LogicalDetails,
  folder: string,
  ctx: AdapterContext,
): Promise<string> {
  const suffix = { custom: '.dump', plain: '.sql', directory: '.directory.tar' }[format]
  const member = backup.manifest.members.find(({ name }) => name.endsWith(suffix) && !name.endsWith('.globals.sql'))
  if (!member) throw new BackupError('MEMBER_DAMAGED', `${backup.manifest.id} has no member ${suffix}.`)
  await refuseFullDisk(folder, member)
  throwIfAborted(ctx.signal)
  const path = join(folder, 'dump')
  const stored = await backup.openStored(member.name)
  const to = format === 'directory' ? { folder: path } : { file: path }
  await feedJob(stored, startJob('unpackDump', { member, to }, ctx))
  return path
}

async function refuseFullDisk(folder: string, { plain }: ManifestMember): Promise<void> {
  const { bavail, bsize } = await fs.statfs(folder)
  if (bavail * bsize >= plain.bytes) return
  throw new BackupError('TARGET_INVALID', `${folder} has no room for ${plain.bytes} bytes.`, {
    hint: 'Free space there, or give the plan a `temporaryDirectory` on a larger disk.',
  })
}

async function promote(
  settings: ConnectionSettings,
  { staging, place, evenIfInUse }: { staging: string; place: RestorePlace; evenIfInUse: boolean },
  ctx: AdapterContext,
) {
  const { name, overwrite } = place
  if (name === undefined) throw new BackupError('CONTRACT_BROKEN', 'A scratch restore cannot be promoted.')
  return swapDatabases(
    settings,
    {
      incoming: staging,
      target: name,
      evenIfInUse,
      carryOver: true,
      // Made meanwhile by somebody else.
      ...(!overwrite && { assertReplaceable: () => assertEmpty(settings, name, ctx) }),
    },
    ctx,
  )
}
