// Makes the database of the tour: a company's tasks of two and a half years.
import { setImmediate as nextTurn } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { createRandom, type Random } from './random.ts'
import { SCHEMA } from './schema.ts'
import { COMMENTS, DETAILS, FIRST_NAMES, LAST_NAMES, PRIORITIES, PROJECTS, STATUSES, TITLES } from './words.ts'

const USERS = 64
const TASKS = 20_000
const BATCH = 1_000
const FIRST_DAY = Date.UTC(2024, 4, 6)
const DAYS = 930
const DAY_MS = 86_400_000

/** Makes it at `file`; `onProgress` is told about tasks. */
export async function makeSampleDatabase(
  file: string,
  signal: AbortSignal,
  onProgress: (done: number, total: number) => void,
): Promise<void> {
  const random = createRandom(20_261_122)
  const database = new Database(file)
  try {
    database.pragma('journal_mode = WAL')
    database.pragma('foreign_keys = ON')
    database.exec(SCHEMA)
    database.transaction(() => addPeopleAndProjects(database, random))()
    const addTask = taskAdder(database, random)
    const addBatch = database.transaction((first: number) => {
      for (let id = first; id < first + BATCH; id++) addTask(id)
    })
    for (let first = 1; first <= TASKS; first += BATCH) {
      signal.throwIfAborted()
      addBatch(first)
      onProgress(first + BATCH - 1, TASKS)
      await nextTurn()
    }
  } finally {
    database.close()
  }
}

function addPeopleAndProjects(database: Database.Database, random: Random): void {
  const user = database.prepare('INSERT INTO users (name, email, created_at) VALUES (?, ?, ?)')
  for (let id = 1; id <= USERS; id++) {
    const [first, last] = [random.pick(FIRST_NAMES), random.pick(LAST_NAMES)]
    const mailbox = `${first}.${last}.${id}`
      .normalize('NFD')
      .replace(/[^A-Za-z0-9.]/g, '')
      .toLowerCase()
    user.run(`${first} ${last}`, `${mailbox}@example.com`, moment(FIRST_DAY + random.below(200) * DAY_MS))
  }
  const project = database.prepare('INSERT INTO projects (name, owner_id) VALUES (?, ?)')
  for (const { name } of PROJECTS) project.run(name, 1 + random.below(USERS))
}

/** Adds one task with its comments and its history. */
function taskAdder(database: Database.Database, random: Random): (id: number) => void {
  const task = database.prepare('INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)')
  const comment = database.prepare('INSERT INTO comments (task_id, author_id, body, created_at) VALUES (?, ?, ?, ?)')
  const history = database.prepare(
    'INSERT INTO task_history (task_id, changed_by, change, changed_at) VALUES (?, ?, ?, ?)',
  )
  const someone = (): number => 1 + random.below(USERS)
  return (id) => {
    const at = random.below(PROJECTS.length)
    const { things } = PROJECTS[at] as (typeof PROJECTS)[number]
    // The later the number, the later the day, as in a real company; work is done from 7 to 18.
    const day = FIRST_DAY + Math.floor((id / TASKS) * DAYS) * DAY_MS
    const created = day + (7 + random.below(11)) * 3_600_000 + random.below(3_600_000)
    const age = 1 - id / TASKS
    const status = random.chance(0.25 + 0.74 * age) ? 'done' : random.pick(STATUSES)
    const due = random.chance(0.8) ? moment(day + (2 + random.below(60)) * DAY_MS).slice(0, 10) : null
    const title = random.pick(TITLES).replace('{}', random.pick(things))
    const details = Array.from({ length: random.below(4) }, () => random.pick(DETAILS)).join(' ')
    const assignee = random.chance(0.93) ? someone() : null
    task.run(id, at + 1, assignee, title, details, status, random.pick(PRIORITIES), due, moment(created))
    let now = created
    const later = (): string => {
      now += random.below(4 * DAY_MS)
      return moment(now)
    }
    history.run(id, someone(), 'created', moment(now))
    for (let left = random.below(4); left > 0; left--) comment.run(id, someone(), random.pick(COMMENTS), later())
    if (status !== 'open') history.run(id, assignee ?? someone(), `open → ${status}`, later())
  }
}

const moment = (ms: number): string => new Date(ms).toISOString()
