import { renameSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BackupPlan, createBackup, mergeLogs, recoveryWindow, restoreBackup } from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { expect } from 'vitest'
import { randomFrom } from '../ledger.ts'
import type { Place } from '../place.ts'
import type { Agent } from '../processes.ts'
import { disturb, setJournalMode } from './disturb.ts'
import type { AppReport } from './following-app.ts'
import {
  APP_KILLED,
  BEGUN,
  FILE_REPLACED,
  FOLLOWER_KILLED,
  type Happening,
  MODE_CHANGED,
  type SteppedBack,
} from './gaps.ts'
import { createHistory, HistoryWriter } from './history.ts'
import { type Seam, seamAt, WHOLE } from './new-full.ts'
import { type HistoryPlaces, historyPlan } from './plan.ts'
import { FollowingApp, OtherWriter } from './processes.ts'

/** So that everything else has its turn as well, on two processors and beside other tests. */
const REST_MS = 400
/** Bursts at full speed, of each who writes; counted, so that nobody has to restore more on a faster machine. */
const HURRIED = 10
/** Logs that become one. */
const MERGED = 5
const HOUR_MS = 3_600_000
/** Numbers of the writers in processes of their own; the app is number 0. */
const OTHERS = [1, 2] as const
const ALONE = 9
const CHECKPOINTS = ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'] as const

/** Everything that happens to a database that is followed, one thing after another. */
export class Stage {
  readonly places: HistoryPlaces
  readonly steppedBack: SteppedBack[] = []
  readonly happened: Happening[] = []
  readonly reports: AppReport[] = []
  readonly #place: Place
  readonly #random: () => number
  #clockOffsetMs = 0
  #app: FollowingApp | undefined
  #others: OtherWriter[] = []
  #disturber: Agent | undefined

  constructor(place: Place, random: () => number) {
    this.#place = place
    this.#random = random
    this.places = { file: place.file, backups: place.backups, temporary: place.temporary }
  }

  get #clock(): string {
    return this.#place.path('clock')
  }

  #setClock(): void {
    writeFileSync(`${this.#clock}.new`, String(this.#clockOffsetMs))
    renameSync(`${this.#clock}.new`, this.#clock)
  }

  get plan(): BackupPlan {
    return historyPlan(this.places, { now: () => new Date(Date.now() + this.#clockOffsetMs) })
  }

  /** The same after more than a week. */
  planLater(): BackupPlan {
    return historyPlan(this.places, { now: () => new Date(Date.now() + 8 * 24 * HOUR_MS) })
  }

  /** Each of them once, in an order of their own. */
  events(): (readonly [name: string, happen: () => Promise<unknown>])[] {
    const events: (readonly [string, () => Promise<unknown>])[] = [
      [FOLLOWER_KILLED, () => this.#killFollower()],
      [APP_KILLED, () => this.#killApp()],
      ['a writer is killed', () => this.#killWriter(false)],
      ['a writer is killed inside a transaction', () => this.#killWriter(true)],
      ...CHECKPOINTS.map(
        (mode) => [`checkpoint ${mode}`, () => this.#disturb(`PRAGMA wal_checkpoint(${mode})`)] as const,
      ),
      ['VACUUM', () => this.#disturb('VACUUM')],
      [MODE_CHANGED, () => this.#changeJournalMode()],
      [FILE_REPLACED, () => this.#replace()],
      ['the clock is stepped back', () => this.#stepClock()],
      ['the clock is right again', () => this.#stepClock()],
      ['a full', () => this.#full()],
      ['a differential', () => this.#backup('differential')],
      ['a merge', () => this.#merge()],
      ['another merge', () => this.#merge()],
    ]
    for (let i = events.length - 1; i > 0; i--) {
      const j = Math.floor(this.#random() * (i + 1))
      ;[events[i], events[j]] = [events[j] as (typeof events)[number], events[i] as (typeof events)[number]]
    }
    return events.map(([name, happen]) => [name, () => this.#note(name, happen)])
  }

  async #note(name: string, happen: () => Promise<unknown>): Promise<void> {
    const from = Date.now()
    await happen()
    this.happened.push({ name, from, until: Date.now() })
  }

  async begin(pageSize: number): Promise<void> {
    createHistory(this.places.file, pageSize)
    this.#setClock()
    this.#disturber = await this.#place.agent()
    await this.#note(BEGUN, () => this.#startAll())
  }

  /** From now on everybody writes at full speed, for a while. */
  async hurry(): Promise<void> {
    await this.#running().ask('hurry', HURRIED)
    for (const other of this.#others) other.hurry(HURRIED)
  }

  /** Lets everybody write for a while. */
  pause(): Promise<void> {
    return sleep(100 + this.#random() * 600)
  }

  /** Ends everything in order; whatever was committed is in the backups then. */
  async end(): Promise<void> {
    await this.#stopOthers()
    await this.#stopApp()
  }

  async #startAll(): Promise<void> {
    await Promise.all([this.#startApp(), ...OTHERS.map((writer, index) => this.#startOther(writer, index))])
  }

  async #startApp(): Promise<void> {
    const orders = { ...this.places, seed: this.#seed(), everyMs: 1000, restMs: REST_MS }
    this.#app = await FollowingApp.start(orders, this.#clock, this.#place)
  }

  async #startOther(writer: number, index: number): Promise<void> {
    this.#others[index] = await OtherWriter.start(
      { file: this.places.file, writer, seed: this.#seed(), restMs: REST_MS },
      this.#place,
    )
  }

  #seed(): number {
    return Math.floor(this.#random() * 1_000_000)
  }

  #running(): FollowingApp {
    if (!this.#app) throw new Error('The app does not run')
    return this.#app
  }

  async #stopOthers(): Promise<void> {
    await Promise.all(this.#others.map((other) => other.stop()))
    this.#others = []
  }

  async #stopApp(): Promise<void> {
    this.reports.push(await this.#running().stop())
    this.#app = undefined
  }

  /** Nobody has the database open any more; the app went in order, or was killed. */
  async #clearStage(): Promise<void> {
    await this.#stopOthers()
    if (this.#random() < 0.5) await this.#stopApp()
    else await this.#running().kill()
  }

  async #killFollower(): Promise<void> {
    const app = this.#running()
    const pid = await app.followerPid()
    process.kill(pid, 'SIGKILL')
    // Started anew by itself, and known to have been.
    await expect.poll(async () => (await app.ask('health')).restarts, { interval: 50 }).toBeGreaterThan(0)
    await expect.poll(async () => (await app.ask('health')).state, { interval: 50 }).toBe('following')
    expect(await app.followerPid()).not.toBe(pid)
  }

  async #killApp(): Promise<void> {
    await this.#running().kill()
    await sleep(this.#random() * 300)
    await this.#startApp()
  }

  async #killWriter(inside: boolean): Promise<void> {
    const index = Math.floor(this.#random() * OTHERS.length)
    const other = this.#others[index] as OtherWriter
    await (inside ? other.killInside() : other.kill())
    await this.#startOther(OTHERS[index] as number, index)
  }

  #disturb(sql: string): Promise<void> {
    return disturb(this.#disturber, this.places.file, sql)
  }

  /** Commits of which nobody can know the order afterwards. */
  async #changeJournalMode(): Promise<void> {
    await this.#clearStage()
    const history = new HistoryWriter(this.places.file, ALONE, randomFrom(this.#seed()))
    // A process that was killed can hold its locks a little longer than it is there.
    await expect.poll(() => setJournalMode(history.database, 'delete'), { interval: 20 }).toBe('delete')
    for (let i = 0; i < 5; i++) history.add()
    history.database.close()
    const database = new Database(this.places.file)
    expect(setJournalMode(database, 'wal')).toBe('wal')
    database.close()
    await this.#startAll()
  }

  async #replace(): Promise<void> {
    await this.#clearStage()
    const { first, last } = await recoveryWindow(this.plan)
    const [from, to] = [Number(first), Number(last)]
    await restoreBackup(this.plan, { at: new Date(from + Math.floor(this.#random() * (to - from))) })
    await this.#startAll()
  }

  /** Back by an hour, and the next time to where it was. */
  async #stepClock(): Promise<void> {
    const back = this.#clockOffsetMs === 0
    const captured = Number((await recoveryWindow(this.plan)).last)
    const from = Date.now()
    this.#clockOffsetMs = back ? -HOUR_MS : 0
    this.#setClock()
    const last = this.steppedBack.at(-1)
    if (back) this.steppedBack.push({ from, until: Number.POSITIVE_INFINITY, captured })
    else if (last) last.until = Date.now()
  }

  /** By the app itself, or by another process of the same plan. */
  #backup(kind: 'full' | 'differential'): Promise<{ readonly id: string }> {
    return this.#random() < 0.5 ? this.#running().ask('backup', kind) : createBackup(this.plan, { kind })
  }

  /** Nothing is lost between two chains. */
  async #full(): Promise<void> {
    const { id } = await this.#backup('full')
    const seam = async (): Promise<Seam | undefined> => {
      await this.#running().ask('flush') // nothing may have been committed since
      return seamAt(this.places.backups, id)
    }
    await expect.poll(seam, { interval: 50 }).toEqual(WHOLE)
  }

  async #merge(): Promise<void> {
    if (this.#random() < 0.5) await this.#running().ask('merge', MERGED)
    else await mergeLogs(this.plan, { most: MERGED })
  }
}
