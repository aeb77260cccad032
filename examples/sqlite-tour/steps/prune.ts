import { join } from 'node:path'
import {
  type BackupPlan,
  type CatalogEntry,
  createBackup,
  type Decision,
  defineBackupPlan,
  explainRetention,
  forecastRetention,
  keepWithin,
  listBackups,
  memory,
  pruneBackups,
  type Storage,
} from '@taskflow-backup/core'
import { sqlite } from '@taskflow-backup/sqlite'
import Database from 'better-sqlite3'
import { formatCount, formatDay, formatMs } from '../format.ts'
import type { Scene } from '../scene.ts'

const DAY_MS = 86_400_000
const DAYS = 3 * 365
const RETENTION = { daily: '30d', weekly: '90d', monthly: '1y', yearly: '7y' }

/** Lets the retention policy decide about three years of daily backups, and removes none. */
export async function pruneMadeUpHistory({ screen, folder, signal, verb }: Scene): Promise<void> {
  screen.step('See what a prune would remove', 'disks fill up, but what goes should never surprise you.')
  const retention = keepWithin(RETENTION)
  const storage = memory()
  const plan = defineBackupPlan({
    name: 'history',
    adapter: sqlite({ file: makeTinyDatabase(folder) }),
    destinations: [storage],
    retention,
  })
  await createBackup(plan, { signal })
  await makeUpThePast(plan, storage)
  const { backups } = await listBackups(plan)
  screen.tell(`A made-up history in memory: one small backup under the names of ${formatCount(backups.length, 'day')}.`)
  screen.tell(
    `Policy: ${Object.entries(RETENTION)
      .map(([rule, length]) => `${rule} ${length}`)
      .join(', ')}.`,
  )
  const startedMs = performance.now()
  const { destinations } = await pruneBackups(plan, { dryRun: true, ...verb })
  const tookMs = performance.now() - startedMs
  const decisions = destinations[0]?.decisions ?? []
  const summary = explainRetention(decisions, backups).trimEnd().split('\n').at(-1) ?? ''
  screen.tell(`Dry run in ${formatMs(tookMs)}. ${summary}`)
  screen.table(examplesOf(decisions, backups))
  await tellForecast({ screen, signal }, retention, backups.at(-1))
}

function makeTinyDatabase(folder: string): string {
  const file = join(folder, 'tiny.db')
  const database = new Database(file)
  database.exec('CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT)')
  database.close()
  return file
}

/** Stores the one backup again under the name of every day before: a prune decides by names alone. */
async function makeUpThePast(plan: BackupPlan, storage: Storage): Promise<void> {
  const [real] = (await listBackups(plan)).backups
  if (!real) return
  for (let day = 1; day < DAYS; day++) {
    const stamp = new Date(real.startedAt.getTime() - day * DAY_MS).toISOString().replace(/[-:.]/g, '')
    for (const file of ['history.db.zst', 'manifest.json']) {
      await storage.put(`${plan.name}/${stamp}-past/${stamp}-full/${file}`, new Uint8Array(real.storedBytes / 2))
    }
  }
}

/** The newest, the oldest, and one decision of each sort in between, newest first. */
function examplesOf(decisions: readonly Decision[], backups: readonly CatalogEntry[]): string[] {
  const days = new Map(backups.map(({ id, startedAt }) => [id, formatDay(startedAt)]))
  const shown = new Map<string, string>()
  for (const { id, keep, reasons } of [...decisions].reverse()) {
    const sort = keep ? reasons.map((reason) => reason.replace(/\S*\d\S*/g, '')).join() : 'removed'
    const verb = keep ? 'keep  ' : 'remove'
    if (!shown.has(sort)) shown.set(sort, `${verb} ${days.get(id)}  ${reasons.join('; ')}`)
  }
  return [...shown.values()]
}

async function tellForecast(
  { screen, signal }: Pick<Scene, 'screen' | 'signal'>,
  retention: ReturnType<typeof keepWithin>,
  newest: CatalogEntry | undefined,
): Promise<void> {
  if (!newest) return
  const now = new Date()
  const [forecast] = await forecastRetention(retention, [newest], now, { signal })
  const date = forecast?.removedAt ? `be let go on ${formatDay(forecast.removedAt)}` : 'stay for more than ten years'
  screen.tell(`Forecast, with one backup a day: the newest will ${date}.`)
}
