import { formatLsn } from '../position.ts'

/** Up to where a cluster is recovered. */
export type RecoveryGoal =
  | { readonly kind: 'latest' }
  | { readonly kind: 'time'; readonly at: Date }
  | { readonly kind: 'lsn'; readonly lsn: bigint }
  | { readonly kind: 'restorePoint'; readonly name: string }
  | { readonly kind: 'transaction'; readonly id: string }

export type Settings = { readonly [name: string]: string }

/** What makes a server recover to `goal` on `timeline` and then be a server like any other. */
export function recoverySettings(goal: RecoveryGoal, timeline: number | 'latest'): Settings {
  const target = targetOf(goal)
  const others = TARGETS.filter((name) => !Object.hasOwn(target, name))
  return {
    // Everything that is needed lies in pg_wal already. Without a command there is no recovery from an archive.
    restore_command: 'false',
    recovery_target_timeline: String(timeline),
    recovery_target_action: 'promote',
    recovery_target_inclusive: 'on',
    // What the source had set is not meant for here. At most one may be set, even for a moment: the empty ones first.
    ...Object.fromEntries(others.map((name) => [name, ''])),
    ...target,
  }
}

const TARGETS = [
  'recovery_target',
  'recovery_target_lsn',
  'recovery_target_name',
  'recovery_target_time',
  'recovery_target_xid',
]

function targetOf(goal: RecoveryGoal): Settings {
  switch (goal.kind) {
    case 'latest':
      return {}
    case 'time':
      return { recovery_target_time: goal.at.toISOString().replace('T', ' ').replace('Z', '+00') }
    case 'lsn':
      return { recovery_target_lsn: formatLsn(goal.lsn) }
    case 'restorePoint':
      return { recovery_target_name: goal.name }
    case 'transaction':
      return { recovery_target_xid: goal.id }
  }
}

/** What keeps a cluster that is only being recovered and checked to itself, whatever its own configuration says. */
export function privateSettings(socketFolder: string, folder: string, major: number): Settings {
  return {
    listen_addresses: '',
    // A list: a comma or a blank must not part it.
    unix_socket_directories: `"${socketFolder.replaceAll('"', '""')}"`,
    unix_socket_permissions: '0700',
    unix_socket_group: '',
    port: String(STAGED_PORT),
    hba_file: `${folder}/pg_hba.conf`,
    ident_file: `${folder}/pg_ident.conf`,
    external_pid_file: '',
    ssl: 'off',
    // It is not a standby, archives nothing, and feeds nobody.
    primary_conninfo: '',
    primary_slot_name: '',
    hot_standby: 'off',
    archive_mode: 'off',
    archive_cleanup_command: '',
    recovery_end_command: '',
    synchronous_standby_names: '',
    // No job of an extension, no subscription, no trigger may begin to work on a copy of the database.
    max_worker_processes: '0',
    max_logical_replication_workers: '0',
    autovacuum: 'off',
    session_preload_libraries: '',
    // What is kept must survive a loss of power, although the source may have been set up for speed alone: a server makes
    // the files that it finds durable when it starts, and only with this.
    fsync: 'on',
    ...(major >= 17 && { event_triggers: 'off', summarize_wal: 'off' }),
    // Small, beside the live server on the same machine.
    shared_buffers: '128MB',
    huge_pages: 'off',
    // Its output is the log, for the error if there is one.
    logging_collector: 'off',
    log_destination: 'stderr',
    lc_messages: 'C',
    restart_after_crash: 'off',
  }
}

/** Part of the socket's name only. */
export const STAGED_PORT = 5432

/** Lines of a configuration file. */
export const settingLines = (settings: Settings): string =>
  Object.entries(settings)
    .map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`)
    .join('')

export const settingArguments = (settings: Settings): string[] =>
  Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
