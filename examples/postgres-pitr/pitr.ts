// A table is dropped by accident; the database goes back to the second before.
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createBackup, defineBackupPlan, directory, planRecovery, restoreBackup } from '@taskflow-backup/core'
import { postgres } from '@taskflow-backup/postgres'
import pg from 'pg'
import { startServer, type ThrowawayServer } from './throwaway-server.ts'

const server = await startServer()
if (!server) {
  console.log('There is no PostgreSQL for this machine among the npm packages: nothing to show here.')
  process.exit(0)
}
try {
  await goBack(server)
} finally {
  await server.stop()
}

async function goBack({ connection, folder, programs, runAs }: ThrowawayServer): Promise<void> {
  const plan = defineBackupPlan({
    name: 'taskflow',
    adapter: postgres({
      connection,
      mode: 'physical',
      // The slot keeps the server's log until it is backed up: no log backup ever misses anything.
      physical: { slot: 'taskflow_backup', serverPrograms: programs, ...(runAs && { runAs }) },
    }),
    destinations: [directory(join(folder, 'backups'))],
  })

  const app = new pg.Client(connection).on('error', () => {}) // a query tells as well
  await app.connect()
  await app.query(
    'CREATE TABLE task (id serial PRIMARY KEY, title text, added_at timestamptz DEFAULT clock_timestamp())',
  )

  /** The app goes on adding tasks, whatever else happens. */
  let adding = true
  const writing = (async () => {
    while (adding) {
      await app.query("INSERT INTO task (title) VALUES ('something to do')").catch(() => {
        adding = false // the table is gone
      })
      await sleep(5)
    }
  })()

  const full = await createBackup(plan)
  console.log(`full  ${full.id}: ${mib(full.plainBytes)} stored as ${mib(full.storedBytes)}, ${full.durationMs} ms`)
  for (let second = 1; second <= 4; second++) {
    await sleep(1000)
    const log = await createBackup(plan, { kind: 'log' })
    console.log(`log   ${log.id}: ${log.manifest.position.begin} to ${log.manifest.position.end}, ${log.durationMs} ms`)
  }

  const other = new pg.Client(connection)
  await other.connect()
  const { rows: before } = await other.query('SELECT count(*)::int AS tasks, clock_timestamp() AS now FROM task')
  await other.query('DROP TABLE task')
  const droppedAt = before[0].now as Date
  console.log(`\n${droppedAt.toISOString()}  somebody drops the table: ${before[0].tasks} tasks are gone`)
  await writing
  await createBackup(plan, { kind: 'log' })

  const at = new Date(droppedAt.getTime() - 1000)
  const recovery = await planRecovery(plan, { at })
  console.log(`${at.toISOString()}  is where to go: a full and ${recovery.backups.length - 1} log backups lead there\n`)

  let found = { tasks: 0, last: new Date(0) }
  const { durationMs, findings } = await restoreBackup(plan, {
    at,
    to: join(folder, 'restored'),
    checks: [
      async ({ location }) => {
        const restored = new pg.Client({ connectionString: location })
        await restored.connect()
        const { rows } = await restored.query('SELECT count(*)::int AS tasks, max(added_at) AS last FROM task')
        await restored.end()
        found = rows[0]
        return [
          { check: 'tasks', severity: found.tasks > 0 ? 'ok' : 'error', message: `${found.tasks} tasks are back.` },
        ]
      },
    ],
  })
  for (const { check, severity, message } of findings) console.log(`${severity.padEnd(7)} ${check}: ${message}`)
  console.log(
    `\nRestored and checked in ${durationMs} ms, into a data directory of its own; the live server was not touched.`,
  )
  console.log(
    `The newest task in it is from ${found.last.toISOString()}, ${at.getTime() - found.last.getTime()} ms before.`,
  )
  console.log(
    `${before[0].tasks - found.tasks} tasks of that last second are in the log as well: ask for a later moment.`,
  )

  await app.end()
  await other.end()
}

function mib(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`
}
