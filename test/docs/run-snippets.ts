// Runs snippets one after another, each page in a folder with a database `app.db`:
//   node run-snippets.ts <list of files> <file for the results>
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { format } from 'node:util'

const [jobs = '', results = ''] = process.argv.slice(2)
const Database = createRequire(jobs)('better-sqlite3')
const outcomes: { error?: string; printed: Record<number, string> }[] = []

for (const file of JSON.parse(readFileSync(jobs, 'utf8')) as string[]) {
  process.chdir(dirname(file))
  if (!existsSync('app.db')) for (const name of ['app.db', 'tasks.db', 'taskmanagement.db']) makeDatabase(name)
  const printed: Record<number, string> = {}
  console.log = (tag: string, ...values: unknown[]) => {
    const line = Number(String(tag).slice(1))
    printed[line] = printed[line] === undefined ? format(...values) : `${printed[line]}\n${format(...values)}`
  }
  const outcome: (typeof outcomes)[number] = { printed }
  outcomes.push(outcome)
  const limit = new AbortController()
  try {
    const late = sleep(240_000, undefined, { signal: limit.signal }).then(() => {
      throw new Error('It did not end within four minutes.')
    })
    await Promise.race([import(pathToFileURL(file).href), late])
  } catch (error) {
    outcome.error = error instanceof Error ? `${error.stack}\n${JSON.stringify(error)}` : String(error)
  } finally {
    limit.abort()
  }
}
writeFileSync(results, JSON.stringify(outcomes))
process.exit(0) // whatever a snippet left running, such as a timer

function makeDatabase(file: string): void {
  const database = new Database(file)
  database.pragma('journal_mode = WAL')
  database.exec(`
    CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE tasks (id INTEGER PRIMARY KEY, title TEXT NOT NULL, owner_id INTEGER REFERENCES users (id));
    INSERT INTO users (name) VALUES ('Priya Patel'), ('Tomasz Nowak');
    INSERT INTO tasks (title, owner_id) VALUES ('Order the new scanner', 1), ('Call the landlord', 2);
  `)
  database.close()
}
