import { join } from 'node:path'
import { BackupError, type BackupResult, restoreBackup, undoRestore } from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { formatCount, formatMs } from '../format.ts'
import { countDifferentRows, countRows, emptyBiggestTable, sha256Of, sumRows } from '../rows.ts'
import type { Scene } from '../scene.ts'

/** Restores to a new file and compares what came back. */
export async function restoreToNewFile(scene: Scene, backup: BackupResult): Promise<void> {
  const { screen, plan, source, foreign, live, folder, verb } = scene
  screen.step('Restore to a new file', 'you can look at old data without touching the live one.')
  const to = foreign ? live : join(folder, 'restored.db')
  const { durationMs, findings } = await restoreBackup(plan, { id: backup.id, to, ...verb })
  screen.tell(`${to} in ${formatMs(durationMs)}.`)
  for (const { check, severity, message } of findings)
    screen.mark(severity === 'error' ? 'bad' : 'good', `${check}: ${message}`)
  const same = (await sha256Of(to)) === backup.manifest.members[0]?.plain.sha256
  if (!same) throw new BackupError('INTERNAL', 'The restored file is not what was backed up.')
  screen.mark('good', 'Byte for byte what was backed up (SHA-256).')
  if (foreign) {
    const rows = countRows(to)
    return screen.tell(`${formatCount(sumRows(rows), 'row')} in ${formatCount(rows.size, 'table')} came back.`)
  }
  const { compared, different } = countDifferentRows(to, source)
  if (different > 0) throw new BackupError('INTERNAL', `${different} restored rows are not in the live database.`)
  const since = sumRows(countRows(source)) - compared
  screen.mark(
    'good',
    `${formatCount(compared, 'row')} compared with the live database: 0 differ, ${since.toLocaleString('en-GB')} were written since.`,
  )
}

/** Deletes rows, restores over the live file, and takes the restore back. */
export async function restoreOverLive(scene: Scene, backup: BackupResult): Promise<void> {
  const { screen, livePlan, live, foreign, verb } = scene
  screen.step('Restore over the live file', 'deleted rows come back, and what was live is kept.')
  if (foreign) screen.tell(`Your file stays as it is: this happens to the restored copy ${live}.`)
  const whole = sumRows(countRows(live))
  screen.tell(`Somebody deletes the wrong rows: ${foreign ? deleteAny(live) : deleteDoneTasks(live)}.`)
  const damaged = sumRows(countRows(live))
  const { durationMs, undo } = await restoreBackup(livePlan, { id: backup.id, ...verb })
  const restored = sumRows(countRows(live))
  screen.mark('good', `Restored in ${formatMs(durationMs)}. ${rowsOverTime([whole, damaged, restored])}`)
  if (restored < whole)
    screen.tell(
      `${formatCount(whole - restored, 'row')} of after the backup ${whole - restored === 1 ? 'is' : 'are'} not in it.`,
    )

  screen.step('Undo that restore', 'people restore the wrong backup, or over the wrong database.')
  const startedMs = performance.now()
  const redo = await undoRestore(livePlan, undo, verb)
  const undone = sumRows(countRows(live))
  if (undone !== damaged) throw new BackupError('INTERNAL', 'The undo did not bring back what was there.')
  screen.mark(
    'good',
    `Undone in ${formatMs(performance.now() - startedMs)}: ${formatCount(undone, 'row')} again, as before the restore.`,
  )
  await undoRestore(livePlan, redo, verb)
  screen.mark('good', `The undo undone: ${formatCount(sumRows(countRows(live)), 'row')}, and the tour leaves it there.`)
}

const rowsOverTime = (counts: readonly number[]): string =>
  `Rows: ${counts.map((count) => count.toLocaleString('en-GB')).join(' → ')}.`

function deleteDoneTasks(file: string): string {
  const sql = "DELETE FROM tasks WHERE status = 'done'"
  const database = new Database(file, { fileMustExist: true })
  try {
    database.pragma('foreign_keys = ON')
    const { changes } = database.prepare(sql).run()
    return `${sql} takes ${formatCount(changes, 'task')} with everything on them`
  } finally {
    database.close()
  }
}

function deleteAny(file: string): string {
  const emptied = emptyBiggestTable(file)
  return emptied
    ? `${formatCount(emptied.rows, 'row')} of ${emptied.table}`
    : 'or would, but nothing in it can be deleted'
}
