import type { AdapterContext } from '@taskflow-backup/core'
import type { ConnectionSettings } from '../connection.ts'
import type { CheckedOptions } from '../options.ts'
import { quoteConnectionValue, quoteIdentifier } from './names.ts'
import { startProgramJob } from './program-job.ts'
import type { ProgramRun } from './program-run.ts'
import type { ClientPrograms } from './programs.ts'
import { inSession } from './session.ts'
import { type LogicalDetails, parseSelectedSchemas } from './source.ts'

/** The new database, the server that it is on, and what goes into it. */
export interface Staging {
  readonly settings: ConnectionSettings
  readonly staging: string
  readonly details: LogicalDetails
}

/**
 * Each small table is a few commits, and each of them would wait for the disk. One wait for all is enough, and it is that
 * of the swap: what is in the log before a commit is on the disk before it. As an option of the connection, so that
 * nothing in the database tells of it.
 */
const COMMIT_LATE = '-c synchronous_commit=off'

/** Lets PostgreSQL's own program load the dump, and gathers the statistics that a dump does not hold. */
export async function load(
  options: CheckedOptions,
  { settings, staging, details }: Staging,
  { programs, dump, run }: { readonly programs: ClientPrograms; readonly dump: string; readonly run: ProgramRun },
  ctx: AdapterContext,
): Promise<void> {
  const there = { ...settings, database: staging }
  if (details.selection) await prepareForPart(there, details, ctx)
  const env = await run.environment()
  const database = `--dbname=dbname=${quoteConnectionValue(staging)}`
  const program =
    details.format === 'plain'
      ? {
          file: programs.path('psql'),
          args: [
            '--no-psqlrc',
            '--quiet',
            '--no-password',
            '--set=ON_ERROR_STOP=1',
            '--single-transaction',
            database,
            `--file=${dump}`,
          ],
          env,
        }
      : {
          file: programs.path('pg_restore'),
          args: ['--exit-on-error', '--no-password', `--jobs=${options.logical.jobs}`, database, dump],
          env: { ...env, ...((await takesOptions(there, ctx)) && { PGOPTIONS: COMMIT_LATE }) },
        }
  await startProgramJob('runProgram', program, ctx).result
  await inSession(there, ctx.signal, async (session) => {
    await session.rows('SET synchronous_commit = off')
    await session.rows('ANALYZE')
  })
}

/**
 * Whether the server can be told how to commit while a client connects: some poolers refuse that. Then pg_restore goes
 * without.
 */
async function takesOptions(settings: ConnectionSettings, ctx: AdapterContext): Promise<boolean> {
  const told = inSession({ ...settings, options: COMMIT_LATE }, ctx.signal, async () => true)
  return told.catch(() => false)
}

/** A dump of a part has neither the schemas of single tables nor the extensions: they are made first. */
async function prepareForPart(
  settings: ConnectionSettings,
  { extensions, selection }: LogicalDetails,
  ctx: AdapterContext,
): Promise<void> {
  await inSession(settings, ctx.signal, async (session) => {
    const dumped = selection?.schemas ?? []
    const schemas = new Set([...parseSelectedSchemas(selection), ...extensions.map(({ schema }) => schema)])
    for (const schema of schemas) {
      if (!dumped.includes(schema) && schema !== 'pg_catalog')
        await session.rows(`CREATE SCHEMA IF NOT EXISTS ${quoteIdentifier(schema)}`)
    }
    for (const { name, schema } of extensions) {
      if (!dumped.includes(schema))
        await session.rows(
          `CREATE EXTENSION IF NOT EXISTS ${quoteIdentifier(name)} SCHEMA ${quoteIdentifier(schema)} CASCADE`,
        )
    }
  })
}
