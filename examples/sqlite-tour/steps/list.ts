import { listBackups } from '@taskflow-backup/core'
import { formatBytes, formatMs, shortId } from '../format.ts'
import type { Scene } from '../scene.ts'

/** Lists what the destination holds. */
export async function list({ screen, plan, backups }: Scene): Promise<void> {
  screen.step('List the backups', 'what the storage holds is the catalogue; there is no other.')
  const startedMs = performance.now()
  const catalog = await listBackups(plan)
  const tookMs = performance.now() - startedMs
  for (const { id, kind, storedBytes, startedAt } of catalog.backups) {
    const at = startedAt.toISOString().slice(0, 19).replace('T', ' ')
    screen.tell(`${at} UTC  ${kind}  ${formatBytes(storedBytes)}  ${shortId(id)}`)
  }
  screen.tell(`Read from the names in ${backups} alone, in ${formatMs(tookMs)}.`)
}
