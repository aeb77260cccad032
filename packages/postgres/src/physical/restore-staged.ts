import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import {
  type AdapterContext,
  BackupError,
  type StagedRestore,
  throwIfAborted,
  type UndoRecord,
} from '@taskflow-backup/core'
import type { CheckedOptions } from '../options.ts'
import type { Owner } from './lay-out-job.ts'
import { checkCluster } from './restore-check.ts'
import { configurationFindings, startByHandFinding, startedFinding } from './restore-findings.ts'
import { DATA, exists, type RestoreRecord, syncFolder, TABLESPACES, tablespacesFolder } from './restore-places.ts'
import type { RestorePlan } from './restore-plan.ts'
import { locationOf, type RecoveredCluster, tidyUp } from './restore-server.ts'
import { startRestored, takeBack } from './restore-start.ts'
import { folderIdentity, noteStart } from './restore-starting.ts'
import { swapDirectories } from './restore-swap.ts'

/** How long a recovered cluster may take for its last checkpoint. */
const STOP_MS = 10 * 60_000

export interface Staging {
  readonly folder: string
  readonly outside: RestoreRecord['outside']
  /** Absent when nothing was started. */
  readonly cluster: RecoveredCluster | undefined
  readonly discard: () => Promise<void>
}

/** What can be done with a cluster that was built: check it, put it into its place, or throw it away. */
export function staged(
  options: CheckedOptions,
  plan: RestorePlan,
  staging: Staging,
  ctx: AdapterContext,
): StagedRestore {
  const { folder, cluster, discard } = staging
  const data = join(folder, DATA)
  return {
    location: cluster ? locationOf(cluster.settings) : data,
    discard,
    async check(checkCtx) {
      const configuration = await configurationFindings(plan, data)
      if (!cluster) return [startByHandFinding(plan), ...configuration]
      // A check of a large cluster takes long; without its server it ends at once.
      const quit = (): void => void cluster.server.quit()
      checkCtx.signal.addEventListener('abort', quit, { once: true })
      try {
        const findings = await checkCluster(cluster.settings, checkCtx)
        throwIfAborted(checkCtx.signal)
        return [...findings, ...configuration, ...startedFinding(plan, cluster.settings)]
      } finally {
        checkCtx.signal.removeEventListener('abort', quit)
      }
    },
    async promote(promoteCtx) {
      const { dataDirectory: target, evenIfInUse } = plan
      if (target === undefined) throw new BackupError('CONTRACT_BROKEN', 'A scratch restore cannot be promoted.')
      if (cluster) {
        await cluster.server.stop(STOP_MS)
        await tidyUp(data)
      }
      throwIfAborted(promoteCtx.signal)
      const moved = (await exists(join(folder, TABLESPACES))) ? tablespacesFolder(target, ctx.randomId(8)) : undefined
      const outside = [...staging.outside, ...(moved === undefined ? [] : [{ path: moved, found: false }])]
      let note: string | undefined
      const prepare = async (record: UndoRecord): Promise<void> => {
        if (moved !== undefined) await moveTablespaces(folder, moved, plan.runAs)
        if (plan.startIn === undefined || !cluster) return
        const { user, database } = cluster.settings
        const facts = { startIn: plan.startIn, record, outside, login: { user, database } }
        // Before the swap: from then on somebody has to tell what became of the start.
        note = await noteStart({ ...facts, cluster: await folderIdentity(data) }, promoteCtx)
      }
      let record: UndoRecord | undefined
      try {
        record = await swapDirectories(
          options,
          { folder, staged: data, target, evenIfInUse, outside, prepare },
          promoteCtx,
        )
        await discard()
        if (note !== undefined) await startRestored(options, plan, note, promoteCtx)
        return record
      } catch (error) {
        if (note !== undefined) {
          if (record) await takeBack(options, record, outside, promoteCtx)
          await fs.rm(note, { recursive: true, force: true })
        }
        throw error
      }
    },
  }
}

async function moveTablespaces(folder: string, to: string, runAs: Owner | undefined): Promise<void> {
  await fs.rename(join(folder, TABLESPACES), to)
  for (const oid of await fs.readdir(to)) {
    const link = join(folder, DATA, 'pg_tblspc', oid)
    if (!(await exists(link))) continue
    await fs.rm(link)
    await fs.symlink(join(to, oid), link)
    if (runAs) await fs.lchown(link, runAs.uid, runAs.gid)
  }
  await syncFolder(join(folder, DATA, 'pg_tblspc'))
}
