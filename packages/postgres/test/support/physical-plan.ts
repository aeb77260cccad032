import {
  type BackupPlan,
  type BackupPlanOptions,
  defineBackupPlan,
  type JsonValue,
  memory,
  type RestoreBackupOptions,
  restoreBackup,
} from '@taskflow-backup/core'
import { type PhysicalOptions, postgres } from '../../src/index.ts'
import { RUN_AS } from './programs.ts'
import { queryUrl } from './restored.ts'
import type { TestServer } from './server.ts'

const SLOT = 'backup'

/** A plan that backs up a test server physically, with a slot, into memory. */
export function physicalPlan(
  server: TestServer,
  physical: PhysicalOptions = {},
  options: Partial<BackupPlanOptions> = {},
): BackupPlan {
  const adapter = postgres({
    connection: server.connection(),
    mode: 'physical',
    physical: { slot: SLOT, serverPrograms: server.programs, ...(RUN_AS && { runAs: RUN_AS }), ...physical },
  })
  return defineBackupPlan({ name: 'app', adapter, destinations: [memory()], ...options })
}

/** Restores to a new place, and gives the rows of a query on what was restored, before it is promoted. */
export async function restoredRows<R extends Record<string, unknown>>(
  plan: BackupPlan,
  options: Omit<RestoreBackupOptions, 'to' | 'checks'> & { readonly to: JsonValue },
  query: string,
) {
  let rows: R[] = []
  const result = await restoreBackup(plan, {
    ...options,
    checks: [
      async ({ location }) => {
        rows = await queryUrl<R>(location, query)
        return []
      },
    ],
  })
  return { rows, result }
}
