import type { BackupAdapter } from '@taskflow-backup/core'
import { logicalAdapter } from './logical/adapter.ts'
import { checkOptions, type PostgresOptions } from './options.ts'
import { physicalAdapter } from './physical/adapter.ts'

/**
 * Backs up and restores a PostgreSQL database (`mode: 'logical'`) or a whole cluster (`mode: 'physical'`).
 *
 * @throws `OPTIONS_INVALID`
 */
export function postgres(options: PostgresOptions): BackupAdapter {
  const checked = checkOptions(options)
  return checked.mode === 'logical' ? logicalAdapter(checked) : physicalAdapter(checked)
}
