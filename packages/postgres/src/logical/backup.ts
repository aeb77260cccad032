import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type AdapterContext,
  BackupError,
  type BackupFacts,
  type BackupRequest,
  type JsonValue,
  jobMember,
  type Member,
  type SourceFacts,
} from '@taskflow-backup/core'
import { type ConnectionSettings, resolveConnection } from '../connection.ts'
import type { CheckedOptions } from '../options.ts'
import type { LogicalJobs } from './jobs.ts'
import { exactPattern } from './names.ts'
import { type ProgramJob, startProgramJob } from './program-job.ts'
import { programRun } from './program-run.ts'
import { type ClientPrograms, findPrograms } from './programs.ts'
import { inSession, openSession, type Session } from './session.ts'
import {
  assertReadable,
  assertSelected,
  countObjects,
  countRows,
  isPartial,
  type LogicalDetails,
  readExtensions,
  readRoles,
  readSelection,
  readServer,
  readShape,
  readSize,
  type Selection,
  type ServerFacts,
  toSourceFacts,
} from './source.ts'

/** Longest wait for a lock that somebody holds on a table. */
const LOCK_WAIT_MS = 300_000

/** Asks whether a dump can be made: server, versions, privileges. */
export async function describeSource(options: CheckedOptions, ctx: AdapterContext): Promise<SourceFacts> {
  const settings = await resolveConnection(options.connection)
  return inSession(settings, ctx.signal, async (session) => {
    const server = await readServer(session)
    const programs = await findPrograms(options.clientPrograms, server.major)
    const selection = readSelection(options.logical)
    await assertSelected(session, selection)
    if (!isPartial(selection)) await assertReadable(session)
    return toSourceFacts(session, server, await readSize(session), {
      mode: 'logical',
      serverVersion: server.version,
      clientVersion: programs.version,
    })
  })
}

/** Makes a full backup with `pg_dump`, and the roles and tablespaces with `pg_dumpall`. */
export async function* backupLogical(
  options: CheckedOptions,
  { kind, fileStem, compression }: BackupRequest,
  ctx: AdapterContext,
): AsyncGenerator<Member, BackupFacts, void> {
  if (kind !== 'full') throw new BackupError('KIND_UNSUPPORTED', `Logical backups are full ones, not ${kind}.`)
  const { format, jobs, globals } = options.logical
  const settings = await resolveConnection(options.connection)
  const snapshot = await openSnapshot(options, settings, ctx)
  const run = programRun(settings, ctx)
  let job: ProgramJob<unknown> | undefined
  const start = <N extends 'dump' | 'runProgram' | 'packFolder'>(name: N, input: LogicalJobs[N]['input']) => {
    const started = startProgramJob(name, input, ctx)
    job = started
    return started
  }
  try {
    const { programs, details } = snapshot
    const env = await run.environment()
    if (globals !== 'none') {
      const program = { file: programs.path('pg_dumpall'), args: globalsArguments(globals), env }
      yield jobMember(`${fileStem}.globals.sql`, start('dump', { program, compression }), compression)
    }
    const args = dumpArguments(options.logical, snapshot.id)
    if (format === 'directory') {
      const folder = join(await run.folder(), 'dump')
      const dumpArgs = [...args, `--jobs=${jobs}`, `--file=${folder}`, '--no-sync']
      await start('runProgram', { file: programs.path('pg_dump'), args: dumpArgs, env }).result
      yield jobMember(`${fileStem}.directory.tar`, start('packFolder', { folder, compression }), compression)
      await rm(folder, { recursive: true, force: true })
    } else {
      const program = { file: programs.path('pg_dump'), args, env }
      const suffix = format === 'plain' ? 'sql' : 'dump'
      yield jobMember(`${fileStem}.${suffix}`, start('dump', { program, compression }), compression)
    }
    const { at, transaction, session, server, sizeBytes } = snapshot
    return {
      consistentAt: at,
      // In a fixed width, so that positions are in order as texts.
      position: { end: `${at.toISOString()}/${transaction.padStart(20, '0')}` },
      source: toSourceFacts(session, server, sizeBytes, details as unknown as { [key: string]: JsonValue }),
      method: `pg_dump-${format}`,
      notes: [],
    }
  } finally {
    await job?.stop()
    await snapshot.session.close()
    await run.end()
  }
}

/** A state of the database that stays visible for as long as the session is open. */
interface Snapshot {
  readonly session: Session
  readonly id: string
  /** By the server's clock; all that is in the snapshot was committed before. */
  readonly at: Date
  /** The first transaction that is not in it. */
  readonly transaction: string
  readonly server: ServerFacts
  readonly programs: ClientPrograms
  readonly sizeBytes: number
  readonly details: LogicalDetails
}

async function openSnapshot(
  options: CheckedOptions,
  settings: ConnectionSettings,
  ctx: AdapterContext,
): Promise<Snapshot> {
  const session = await openSession(settings, ctx.signal)
  try {
    const server = await readServer(session)
    const programs = await findPrograms(options.clientPrograms, server.major)
    for (const name of ['statement_timeout', 'idle_in_transaction_session_timeout'])
      await session.rows(`SET ${name} = 0`)
    await session.rows(`SET lock_timeout = ${LOCK_WAIT_MS}`)
    await session.rows('SET row_security = off') // rather an error than rows that are left out
    await session.rows('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
    // The snapshot is taken before the statement runs: what is in it was committed before the clock is read. Up to the
    // next whole millisecond, because a `Date` has no parts of one.
    const [row] = await session.rows<{ id: string; at: Date; transaction: string }>(
      `SELECT pg_export_snapshot() AS id,
         date_trunc('milliseconds', clock_timestamp()) + interval '1 millisecond' AS at,
         txid_snapshot_xmax(txid_current_snapshot())::text AS transaction`,
    )
    const { id, at, transaction } = row as { id: string; at: Date; transaction: string }
    const sizeBytes = await readSize(session)
    const details = await readDetails(session, options, { server, programs })
    return { session, id, at, transaction, server, programs, sizeBytes, details }
  } catch (error) {
    await session.close()
    throw error
  }
}

async function readDetails(
  session: Session,
  { logical }: CheckedOptions,
  { server, programs }: { readonly server: ServerFacts; readonly programs: ClientPrograms },
): Promise<LogicalDetails> {
  const selection = readSelection(logical)
  const partial = isPartial(selection)
  const { owners, grantees } = await readRoles(session)
  return {
    mode: 'logical',
    format: logical.format,
    serverVersion: server.version,
    clientVersion: programs.version,
    ...(partial && {
      selection: { schemas: logical.schemas, tables: logical.tables, excludeTables: logical.excludeTables },
    }),
    database: { ...(await readShape(session)) },
    extensions: (await readExtensions(session)).map((extension) => ({ ...extension })),
    owners,
    grantees,
    objects: partial ? {} : await countObjects(session),
    rowCounts: partial ? [] : await countRows(session),
  }
}

function dumpArguments(logical: CheckedOptions['logical'], snapshot: string): string[] {
  const { schemas, tables, excludeTables }: Selection = readSelection(logical)
  return [
    `--format=${logical.format}`,
    // Ours is better and faster: see docs/postgres.md.
    ...(logical.format === 'plain' ? [] : ['--compress=0']),
    `--snapshot=${snapshot}`,
    `--lock-wait-timeout=${LOCK_WAIT_MS}`,
    '--no-password',
    ...(schemas.length + tables.length > 0 ? ['--strict-names'] : []),
    ...schemas.map((schema) => `--schema=${exactPattern(schema)}`),
    ...tables.map(({ schema, table }) => `--table=${exactPattern(schema, table)}`),
    ...excludeTables.map(({ schema, table }) => `--exclude-table=${exactPattern(schema, table)}`),
  ]
}

const globalsArguments = (globals: 'without-passwords' | 'with-passwords'): string[] => [
  '--globals-only',
  '--no-password',
  ...(globals === 'without-passwords' ? ['--no-role-passwords'] : []),
]
