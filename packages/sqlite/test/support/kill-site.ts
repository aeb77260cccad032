import type { ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import * as fs from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  createBackup,
  directory,
  keepLast,
  listBackups,
  pruneBackups,
  type UndoRecord,
  verifyBackup,
} from '@taskflow-backup/core'
import { type FaultyStorage, faulty } from '@taskflow-backup/testing'
import Database from 'better-sqlite3'
import { expect } from 'vitest'
import type { KillJob, KillOrders } from './kill-worker.ts'
import type { Place } from './place.ts'
import { membersOf, startScript } from './processes.ts'
import { createTasks, tasksIn } from './tasks.ts'

/** One live database with its backups, whose processes are killed again and again. */
export class KillSite {
  readonly #place: Place
  readonly #storage: FaultyStorage
  readonly #random: () => number
  readonly #verified = new Set<string>()
  /** How long each job takes when nobody kills it. */
  readonly #durationsMs = new Map<KillJob, number>()
  /** Rows of the newest backup. */
  #backedUp: string[] = []
  #round = 0

  constructor(place: Place, random: () => number) {
    this.#place = place
    this.#storage = faulty(directory(place.backups)) // has no faults, and counts the calls
    this.#random = random
  }

  get #plan() {
    return this.#place.plan({ retention: keepLast(2), destinations: [this.#storage] })
  }

  async prepare(): Promise<void> {
    this.#backedUp = Array.from({ length: 300 }, (_, i) => `task ${i}`)
    createTasks(this.#place.file, [])
    const database = new Database(this.#place.file)
    for (const title of this.#backedUp) database.prepare('INSERT INTO task (title) VALUES (?)').run(title)
    database.close()
    await createBackup(this.#plan)
    this.#verified.add((await listBackups(this.#plan)).backups[0]?.id as string)
  }

  /** Lets a process do `job`, kills it somewhere in between, and checks all that must hold. Returns where it hit. */
  async kill(job: KillJob): Promise<string> {
    const { file, backups, temporary } = this.#place
    this.#round++
    const old = job === 'backup' ? tasksIn(file) : await this.#changeLive()
    const undo = job === 'undo' ? await this.#fakeRestored() : undefined
    if (job === 'prune') await this.#forgeBackups(3)
    const phase = await this.#runAndKill({ job, file, backups, temporary, ...(undo && { undo }) })
    await this.#checkBackups(old)
    await this.#checkLive(job, old, undo)
    return phase
  }

  /** Puts a row into the live database; every other time as a crashed app leaves it, in the log only. */
  async #changeLive(): Promise<string[]> {
    const { file, folder } = this.#place
    const database = new Database(file)
    database.prepare('INSERT INTO task (title) VALUES (?)').run(`round ${this.#round}`)
    const crashed = join(folder, 'crashed')
    if (this.#round % 2 === 0) for (const suffix of ['', '-wal']) await fs.copyFile(file + suffix, crashed + suffix)
    const titles = database.prepare('SELECT title FROM task ORDER BY id').pluck().all() as string[]
    database.close()
    if (this.#round % 2 === 0) for (const suffix of ['', '-wal']) await fs.rename(crashed + suffix, file + suffix)
    return titles
  }

  /** What a restore would have left: the database that was replaced, and its record. */
  async #fakeRestored(): Promise<UndoRecord> {
    const { file } = this.#place
    const kept = join(`${file}.before-restore-20261122T000000-${this.#round}`, basename(file))
    await fs.mkdir(dirname(kept), { mode: 0o700 })
    createTasks(kept, [`before the restore of round ${this.#round}`])
    return { engine: 'sqlite', target: file, kept, promotedAt: new Date().toISOString() }
  }

  /** Copies of a backup under older names, for a prune to remove. */
  async #forgeBackups(count: number): Promise<void> {
    const { backups } = await listBackups(this.#plan)
    const root = join(this.#place.backups, 'tasks')
    const from = backups.at(-1)?.id as string
    const text = await fs.readFile(join(root, from, 'manifest.json'), 'utf8')
    for (let i = 0; i < count; i++) {
      const stamp = `20200101T0000${String(this.#round % 60).padStart(2, '0')}${String(i).padStart(3, '0')}Z`
      const chain = `${stamp}-forged`
      const id = `${chain}/${stamp}-full`
      const open = `${JSON.stringify({ ...JSON.parse(text), id, chain, checksum: '0'.repeat(64) }, null, 2)}\n`
      const checksum = createHash('sha256').update(open).digest('hex')
      await fs.cp(join(root, from), join(root, id), { recursive: true })
      await fs.writeFile(
        join(root, id, 'manifest.json'),
        open.replace(`"checksum": "${'0'.repeat(64)}"`, `"checksum": "${checksum}"`),
      )
      await fs.rm(join(root, id, 'verified.decoded.passed.json'), { force: true })
    }
  }

  async #runAndKill(orders: KillOrders): Promise<string> {
    const wholeGroup = this.#random() < 0.5 // with its children, or alone
    const durationMs = this.#durationsMs.get(orders.job)
    // Half of the kills come at one of the things that it says, so that short phases have their turn as well.
    const line =
      durationMs !== undefined && this.#random() < 0.5 ? 1 + Math.floor(this.#random() * LINES[orders.job]) : undefined
    const worker = this.#place.track(startScript('kill-worker.ts', { detached: true }))
    const pid = worker.pid as number
    await once(worker, 'message')
    const { phases, closed, done } = listen(worker)
    const startedMs = performance.now()
    worker.send({ ...orders, ...(line !== undefined && { killAt: { line, wholeGroup } }) })
    if (durationMs === undefined) {
      await Promise.race([done, closed])
      this.#durationsMs.set(orders.job, performance.now() - startedMs)
    } else if (line === undefined) {
      await Promise.race([sleep(this.#random() * durationMs), closed])
    } else {
      await Promise.race([done, closed])
    }
    killAll(wholeGroup ? -pid : pid)
    await closed
    await expect.poll(() => membersOf(pid), { interval: 10 }).toEqual([]) // every child of the killed app has ended
    expect(phases.filter((phase) => phase.startsWith('failed'))).toEqual([])
    const last = phases.includes('done') ? 'done' : (phases.at(-1) ?? 'before its start')
    return `${orders.job}: ${last}`
  }

  async #checkBackups(live: string[]): Promise<void> {
    const plan = this.#plan
    const { backups } = await listBackups(plan)
    expect(backups.length).toBeGreaterThan(0)
    for (const { id } of backups) {
      if (this.#verified.has(id)) continue
      this.#storage.restart()
      await verifyBackup(plan, { id, level: 'decoded' })
      // It got its lock at the first look: the one of the killed process was taken over without waiting.
      expect(this.#storage.calls.filter(({ key }) => key === 'tasks/lock-')).toHaveLength(1)
      this.#verified.add(id)
      if (!id.includes('forged')) this.#backedUp = live
    }
    if (this.#round % 15 === 0) await verifyBackup(plan, { level: 'restored' })
    await pruneBackups(plan)
    if (await this.#letAMinutePass()) await pruneBackups(plan)
    const after = await listBackups(plan)
    expect(after.incomplete).toEqual([])
    expect(after.backups.length).toBeGreaterThanOrEqual(Math.min(2, backups.length))
    // Besides the two newest, only one that passed a deeper verification than they did is kept.
    expect(after.backups.slice(0, -2).filter(({ verified }) => verified === undefined)).toEqual([])
    expect(after.backups.length).toBeLessThanOrEqual(4)
    // Files only: an empty folder, left between the last file's removal and its own, is no object of a storage.
    const entries = await fs.readdir(this.#place.backups, { recursive: true, withFileTypes: true })
    const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
    const isOfBackup = (file: string): boolean => after.backups.some(({ id }) => dirname(file).endsWith(id))
    expect(files.filter((file) => file.endsWith('.partial') || !isOfBackup(file))).toEqual([])
    expect(await fs.readdir(this.#place.temporary)).toEqual([])
  }

  /** What may belong to somebody alive stays for a minute: a staging folder without owner, a lock that is half put. */
  async #letAMinutePass(): Promise<boolean> {
    const { app, backups, temporary } = this.#place
    const staging = (await fs.readdir(app)).filter((name) => name.startsWith('.tasks.db.restoring-'))
    const locks = (await fs.readdir(join(backups, 'tasks'))).filter((name) => /^lock-.*\.partial$/.test(name))
    for (const name of staging) {
      expect(await fs.readFile(join(app, name, 'owner.json'), 'utf8').catch(() => '')).toBe('')
    }
    // As is the folder of a job.
    const copies = (await fs.readdir(temporary)).filter((name) => name.startsWith('taskflow-backup-copy-'))
    for (const name of copies) {
      expect(await fs.readFile(join(temporary, name, 'owner.json'), 'utf8').catch(() => '')).toBe('')
    }
    const young = [
      ...copies.map((name) => join(temporary, name)),
      ...staging.map((name) => join(app, name)),
      ...locks.map((name) => join(backups, 'tasks', name)),
    ]
    const past = new Date(Date.now() - 61_000)
    for (const path of young) await fs.utimes(path, past, past)
    return young.length > 0
  }

  async #checkLive(job: KillJob, old: string[], undo: UndoRecord | undefined): Promise<void> {
    const { app, file } = this.#place
    const now = tasksIn(file)
    const others = (await fs.readdir(app)).filter((name) => !/^tasks\.db(-wal|-shm)?$/.test(name))
    const kept = others.filter((name) => name.startsWith('tasks.db.before-restore-'))
    expect(kept).toEqual(others) // no staging folder
    const keptTitles = kept.map((name) => tasksIn(join(app, name, basename(file))))
    const replacement = job === 'restore' ? this.#backedUp : [`before the restore of round ${this.#round}`]
    // Every round but that of a backup begins with a row of its own, so what was there before is never what is restored.
    const replaced = now.join() !== old.join()
    const { backups } = await listBackups(this.#plan)
    const about = { job, round: this.#round, old, kept: keptTitles, backups: backups.map(({ id }) => id) }
    expect(now, JSON.stringify(about)).toEqual(replaced ? replacement : old)
    if (replaced) {
      expect(['restore', 'undo']).toContain(job)
      expect(keptTitles).toEqual([old]) // what was replaced is kept, and nothing else is left
    } else {
      expect(keptTitles).toEqual(undo ? [replacement] : [])
    }
    for (const name of kept) await fs.rm(join(app, name), { recursive: true })
  }
}

/** About how many things a worker says in each job. */
const LINES: Record<KillJob, number> = { backup: 9, differential: 9, prune: 14, restore: 14, undo: 6 }

/** Collects the lines of a worker's output. */
function listen(worker: ChildProcess) {
  const phases: string[] = []
  const closed = once(worker, 'close')
  const done = new Promise<void>((resolve) => {
    let rest = ''
    worker.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const parts = (rest + text).split('\n')
      rest = parts.pop() ?? ''
      phases.push(...parts)
      if (phases.includes('done')) resolve()
    })
  })
  return { phases, closed, done }
}

function killAll(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It had done its work already.
  }
}
