import { BackupError, type ErrorCode } from '@taskflow-backup/core'
import type { ConnectionSettings } from '../connection.ts'
import type { ServerFacts } from './server-facts.ts'

const LOGICAL_HINT = "Use mode: 'logical', which works on every managed service."

/** Roles that only a managed service has, and its name. */
const SERVICES: { readonly [role: string]: string } = {
  rds_superuser: 'Amazon RDS or Aurora',
  rdsadmin: 'Amazon RDS or Aurora',
  cloudsqlsuperuser: 'Google Cloud SQL',
  alloydbsuperuser: 'Google AlloyDB',
  azure_pg_admin: 'Azure Database for PostgreSQL',
  neon_superuser: 'Neon',
  supabase_admin: 'Supabase',
}

export const MANAGED_ROLES: readonly string[] = Object.keys(SERVICES)

/**
 * Refuses what can be known from a normal session.
 *
 * @throws `SERVER_UNSUPPORTED`, `SERVER_SETTING`, `PRIVILEGE_MISSING`
 */
export function refuseServer(facts: ServerFacts, { user }: ConnectionSettings): void {
  const [managed] = facts.managedRoles
  if (managed !== undefined) {
    throw new BackupError(
      'SERVER_UNSUPPORTED',
      `This is ${SERVICES[managed]} (it has the role ${managed}), which lets nobody copy the cluster.`,
      { hint: LOGICAL_HINT },
    )
  }
  if (facts.inRecovery) {
    throw new BackupError('SERVER_UNSUPPORTED', 'This server is a standby, in recovery.', {
      hint: 'Back up the primary.',
    })
  }
  if (facts.walLevel === 'minimal') {
    throw new BackupError('SERVER_SETTING', 'wal_level is minimal, which a physical backup cannot be made with.', {
      hint: "ALTER SYSTEM SET wal_level = 'replica' (and max_wal_senders above 1); then restart the server.",
    })
  }
  if (!facts.mayReplicate) {
    throw new BackupError('PRIVILEGE_MISSING', `The role ${user} may not replicate.`, {
      hint: `ALTER ROLE "${user.replaceAll('"', '""')}" REPLICATION`,
    })
  }
}

const HINTS: { readonly [code in ErrorCode]?: (settings: ConnectionSettings) => string } = {
  SERVER_REFUSED: ({ user, tls }) =>
    `Add to pg_hba.conf: ${tls ? 'hostssl' : 'host'} replication ${user} <address> scram-sha-256 (the word "all" does not match replication), then SELECT pg_reload_conf().`,
  PRIVILEGE_MISSING: ({ user }) => `ALTER ROLE "${user.replaceAll('"', '""')}" REPLICATION`,
  SERVER_BUSY: () => 'Raise max_wal_senders (a backup needs two; changing it needs a restart), or try again later.',
}

/** What a refused replication connection means, when a normal one was let in just before. */
export function replicationError(thrown: unknown, settings: ConnectionSettings, _facts: ServerFacts): unknown {
  if (!(thrown instanceof BackupError)) return thrown
  const hint = HINTS[thrown.code]?.(settings)
  if (hint === undefined) return thrown
  return new BackupError(thrown.code, `Replication is not let in. ${thrown.message}`, {
    hint,
    cause: thrown.cause,
    retryable: thrown.retryable,
  })
}

/** What should worry somebody although the backup works. */
export function slotRisks(name: string, { slot, maxSlotWalKeepMb }: ServerFacts): string[] {
  const risks: string[] = []
  if (maxSlotWalKeepMb === -1) {
    risks.push(
      `max_slot_wal_keep_size has no limit: when no log backups are made any more, the slot "${name}" fills the server's disk. Set a limit.`,
    )
  }
  if (slot && slot.retainedBytes > MUCH_BYTES) {
    const gib = (slot.retainedBytes / 1024 ** 3).toFixed(1)
    risks.push(`The slot "${name}" makes the server keep ${gib} GiB of log. Make log backups more often.`)
  }
  if (slot?.walStatus === 'unreserved')
    risks.push(`The slot "${name}" is about to lose log: max_slot_wal_keep_size is exceeded.`)
  return risks
}

const MUCH_BYTES = 8 * 1024 ** 3
