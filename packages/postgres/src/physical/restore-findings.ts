import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Finding } from '@taskflow-backup/core'
import type { ConnectionSettings } from '../connection.ts'
import { exists } from './restore-places.ts'
import type { RestorePlan } from './restore-plan.ts'

// What a person has to know of a restored cluster besides whether it is sound.

/** What to do with a cluster that was only laid ready. */
export function startByHandFinding({ chain, dataDirectory, runAs }: RestorePlan): Finding {
  return {
    check: 'start-by-hand',
    severity: 'warning',
    message: `Nothing was recovered or checked yet. Start PostgreSQL ${chain.majorVersion}${asUser(runAs)}: postgres -D ${quoted(String(dataDirectory))} — it recovers and opens. Then, in psql: ALTER SYSTEM RESET for restore_command and every recovery_target setting.`,
  }
}

/** How to reach the server that is left running, and how to end it. */
export function startedFinding(
  { chain, dataDirectory, startIn, runAs, program }: RestorePlan,
  { port, user, database }: ConnectionSettings,
): Finding[] {
  if (startIn === undefined || dataDirectory === undefined || program === undefined) return []
  const connect = `psql -h ${quoted(startIn)} -p ${port} -U ${quoted(user)} -d ${quoted(database)}`
  const stop = `${quoted(join(dirname(program), 'pg_ctl'))} stop -m fast -D ${quoted(dataDirectory)}`
  const message = `PostgreSQL ${chain.majorVersion} runs on it, for a look: ${connect} — it listens on this socket only, asks${asUser(runAs)} for no password, archives nothing and runs no background jobs. Stop it${asUser(runAs)}: ${stop}; then remove ${quoted(startIn)}.`
  return [{ check: 'started', severity: 'ok', message }]
}

/**
 * Configuration that no backup has, because it is kept outside of the data directory, and configuration that leads
 * back to the live cluster. The live cluster's own stays where it is.
 */
export async function configurationFindings({ target, dataDirectory }: RestorePlan, data: string): Promise<Finding[]> {
  if (dataDirectory === undefined || target.isLive) return []
  const warning = (message: string): Finding => ({ check: 'configuration', severity: 'warning', message })
  const place = `-c data_directory=${quoted(dataDirectory)}`
  const names = ['postgresql.conf', 'pg_hba.conf']
  const there = await Promise.all(names.map((name) => exists(join(data, name))))
  const missing = names.filter((_, index) => !there[index])
  if (missing.length > 0) {
    return [
      warning(
        `The data directory has no ${missing.join(' and no ')}: this cluster keeps its configuration elsewhere, and no backup has it. Copy it from there; or start the cluster beside the live one, with the live one's configuration: postgres -c config_file=… ${place} -c external_pid_file= -p 5433`,
      ),
    ]
  }
  const text = await readFile(join(data, 'postgresql.conf'), 'utf8')
  if (!/^\s*data_directory\b/m.test(text)) return []
  return [
    warning(`Its postgresql.conf sets data_directory, which counts for more than -D. Start it with ${place} as well.`),
  ]
}

const asUser = (runAs: RestorePlan['runAs']): string => (runAs ? ` as user ${runAs.uid}` : '')

/** A word for a shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`
