// Shows restore-check.ts at work: on a good backup, and on one that SQLite finds whole and the app does not.
import { spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createBackup, defineBackupPlan, directory } from '@taskflow-backup/core'
import { sqlite } from '@taskflow-backup/sqlite'
import Database from 'better-sqlite3'

const folder = await mkdtemp(join(tmpdir(), 'taskflow-restore-check-'))
const file = join(folder, 'taskmanagement.db')
const backups = join(folder, 'backups')
const plan = defineBackupPlan({ name: 'taskmanagement', adapter: sqlite({ file }), destinations: [directory(backups)] })

const database = new Database(file)
database.pragma('journal_mode = WAL')
database.exec(`
  CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
  CREATE TABLE tasks (id INTEGER PRIMARY KEY, title TEXT NOT NULL, owner_id INTEGER NOT NULL);
  INSERT INTO users (name) VALUES ('Priya Patel'), ('Tomasz Nowak');
  INSERT INTO tasks (title, owner_id) VALUES ('Order the new scanner', 1), ('Call the landlord', 2);
`)
await createBackup(plan)
console.log('A good backup:')
const good = check()

database.exec('DELETE FROM users')
await createBackup(plan)
console.log('\nA backup of a database without users:')
const bad = check()

database.close()
await rm(folder, { recursive: true })
console.log(`\nExit codes: ${good} and ${bad}.`)
if (good !== 0 || bad !== 1) throw new Error('0 and 1 were expected.')

function check(): number | null {
  const script = fileURLToPath(new URL('restore-check.ts', import.meta.url))
  return spawnSync(process.execPath, [script, file, backups], { stdio: 'inherit' }).status
}
