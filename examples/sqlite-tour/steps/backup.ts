import { stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BackupResult, createBackup } from '@taskflow-backup/core'
import { formatBytes, formatCount, formatMs, shortId } from '../format.ts'
import { countRows, sumRows } from '../rows.ts'
import { makeSampleDatabase } from '../sample/make-database.ts'
import type { Scene } from '../scene.ts'
import { startWriter } from '../writer-process.ts'

const WARM_UP_MS = 400

/** Makes the database that the rest of the tour is about. */
export async function makeDatabase({ screen, source, signal }: Scene): Promise<void> {
  screen.step('Make a database', 'a restore convinces only with data that looks like yours.')
  const startedMs = performance.now()
  await makeSampleDatabase(source, signal, (done, total) =>
    screen.progress('making tasks', done, total, (count) => count.toLocaleString('en-GB')),
  )
  const rows = countRows(source)
  const { size } = await stat(source)
  const tables = [...rows].map(([table, count]) => `${count.toLocaleString('en-GB')} ${table.replace('_', ' ')}`)
  screen.tell(`${tables.join(', ')}.`)
  screen.tell(`${formatBytes(size)} in ${formatMs(performance.now() - startedMs)}: ${source}`)
}

/** Backs the sample up while another process keeps writing to it. */
export async function backupWhileWriting({ screen, source, signal, plan, verb }: Scene): Promise<BackupResult> {
  screen.step('Back it up while another process writes', 'an app does not stop for backups and must not wait.')
  const before = sumRows(countRows(source))
  const writer = await startWriter(source, signal)
  try {
    await sleep(WARM_UP_MS, undefined, { signal })
    const alone = await writer.lap()
    const backup = await createBackup(plan, verb)
    const during = await writer.lap()
    await writer.stop()
    tellBackup(screen, backup)
    screen.tell(
      `The writer: ${formatCount(during.commits, 'commit')} meanwhile, the slowest ${during.slowestMs.toFixed(1)} ms ` +
        `(${alone.slowestMs.toFixed(1)} ms without a backup).`,
    )
    const after = sumRows(countRows(source))
    screen.tell(
      `Rows: ${before.toLocaleString('en-GB')} before, ${after.toLocaleString('en-GB')} after. The backup is one commit in between.`,
    )
    return backup
  } finally {
    await writer.stop()
  }
}

/** Backs the user's database up. */
export async function backupOnly({ screen, source, plan, verb }: Scene): Promise<BackupResult> {
  screen.step('Back your database up', 'one consistent state of it, while whoever uses it goes on.')
  screen.tell(`${source} is only read here, and nowhere else in this tour.`)
  const backup = await createBackup(plan, verb)
  tellBackup(screen, backup)
  const { journalMode, pageSize, pageCount, tables } = backup.manifest.source.details ?? {}
  screen.tell(`Journal mode ${journalMode}, ${pageCount} pages of ${pageSize} bytes, ${tables} tables.`)
  return backup
}

function tellBackup(
  screen: Scene['screen'],
  { id, plainBytes, storedBytes, durationMs, manifest }: BackupResult,
): void {
  const ratio = Math.round((storedBytes / plainBytes) * 100)
  screen.tell(
    `${formatBytes(plainBytes)} read, ${formatBytes(storedBytes)} stored (${ratio} %) in ${formatMs(durationMs)}, ` +
      `method ${manifest.method}: ${shortId(id)}`,
  )
  for (const note of manifest.notes) screen.tell(`Note: ${note}`)
}
