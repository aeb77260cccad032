// Makes a small database in a fresh folder and runs quickstart.ts there, as an app in that folder would.
import { mkdtemp, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'

const folder = await mkdtemp(join(tmpdir(), 'taskflow-quickstart-'))
process.chdir(folder)

const database = new Database('taskmanagement.db')
database.pragma('journal_mode = WAL')
database.exec(`
  CREATE TABLE tasks (id INTEGER PRIMARY KEY, title TEXT NOT NULL);
  INSERT INTO tasks (title) VALUES ('Order the new scanner'), ('Call the landlord'), ('Test the restore');
`)

await import('./quickstart.ts')

const copy = new Database('copy.db', { readonly: true })
const titles = copy.prepare('SELECT title FROM tasks ORDER BY id').pluck().all()
copy.close()
database.close()

console.log(`Restored tasks: ${titles.join(', ')}`)
for (const name of await readdir('backups', { recursive: true })) console.log(`  backups/${name}`)
console.log(`Everything is in ${folder}; delete it when you like.`)
