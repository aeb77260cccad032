import type { LogGap, Manifest } from '@taskflow-backup/core'
import type { Step } from '../../../src/changes/format.ts'
import { hashPage, PageTable } from '../../../src/changes/page-table.ts'
import { type HistoryMark, MARK_PAGE, markOfPage, readHistory } from './history.ts'
import { parseChanges, Replay, type StoredBackup, type StoredStep, storedBackups, storedMember } from './stored.ts'

/** A state that is in the backups, with everything that a restore to it must agree with. */
export interface CapturedState {
  /** What it is the end of: a step, or the backup itself. */
  readonly of: 'full' | 'differential' | 'step'
  /** Id of the backup that holds it. */
  readonly backup: string
  /** The database was looked at between these two moments, by the clock of the app. */
  readonly lookedAt: number
  readonly time: number
  /** Number of the last commit in its chain; of a differential none. */
  readonly commit?: number
  readonly sha256: string
  readonly mark: HistoryMark
}

/** The state after one commit in its own order, which is inside of a step or at its end. */
export interface CapturedCommit {
  readonly commit: number
  /** When its step was captured. */
  readonly time: number
  readonly sha256: string
}

/** What one chain holds, worked out from its stored bytes alone. */
export interface CapturedChain {
  readonly chain: string
  readonly full: CapturedState
  /** In the order in which they were captured. */
  readonly steps: readonly CapturedState[]
  readonly differentials: readonly CapturedState[]
  /** Stretches in which the order of commits was lost. */
  readonly gaps: readonly LogGap[]
  /** The states after some single commits. */
  readonly commits: readonly CapturedCommit[]
  /** Everything that is not as it must be. */
  readonly faults: readonly string[]
  readonly counts: { readonly commits: number; readonly pages: number; readonly comparisons: number }
}

/** Reads every chain below `root`. Of each, the states after about `commits` single commits are noted as well. */
export function capturedChains(root: string, commits: number, random: () => number): CapturedChain[] {
  const backups = storedBackups(root)
  return backups
    .filter(({ manifest }) => manifest.kind === 'full')
    .map((full) => {
      const chain = backups.filter(({ manifest }) => manifest.chain === full.manifest.chain)
      return new ChainReader(full, chain).read(commits, random)
    })
}

const firstCommit = ({ manifest }: StoredBackup): number => Number(manifest.source.details?.firstCommit)
const lastCommit = ({ manifest }: StoredBackup): number => Number(manifest.source.details?.lastCommit)

const commitsIn = (log: StoredBackup): number => lastCommit(log) - firstCommit(log)
const isMerged = ({ manifest }: StoredBackup): boolean => typeof manifest.source.details?.level === 'number'

/** Logs that were merged wait where somebody holds a lock, and in an older chain they stay for a week. */
const standsFor = (merged: StoredBackup, log: StoredBackup): boolean =>
  isMerged(merged) &&
  firstCommit(merged) <= firstCommit(log) &&
  lastCommit(log) <= lastCommit(merged) &&
  log.manifest.consistentAt <= merged.manifest.consistentAt &&
  // Of two of the same commits, the newer one.
  (commitsIn(log) < commitsIn(merged) || !isMerged(log) || log.manifest.id < merged.manifest.id)

const timeOf = ({ consistentAt }: Manifest): number => Date.parse(consistentAt)

class ChainReader {
  readonly #full: StoredBackup
  readonly #backups: readonly StoredBackup[]
  readonly #faults: string[] = []
  readonly #gaps: LogGap[] = []
  readonly #steps: CapturedState[] = []
  readonly #commits: CapturedCommit[] = []
  readonly #counts = { commits: 0, pages: 0, comparisons: 0 }
  readonly #replay: Replay
  readonly #table: PageTable
  #lastCommit = 0
  #lastTime: number
  #lastStep: Step | undefined
  #mark: HistoryMark

  constructor(full: StoredBackup, backups: readonly StoredBackup[]) {
    this.#full = full
    this.#backups = backups
    const pageSize = Number(full.manifest.source.details?.pageSize)
    this.#replay = new Replay(storedMember(full, '.db'), pageSize)
    this.#table = tableOf(this.#replay)
    this.#lastTime = timeOf(full.manifest)
    this.#mark = markOfPage(this.#replay.page(MARK_PAGE))
  }

  read(commits: number, random: () => number): CapturedChain {
    const full = this.#stateOf('full', this.#full, this.#replay)
    const differentials = this.#backups
      .filter(({ manifest }) => manifest.kind === 'differential')
      .map((backup) => this.#readDifferential(backup))
    const logs = this.#backups
      .filter((one) => one.manifest.kind === 'log' && !this.#backups.some((other) => standsFor(other, one)))
      .sort((a, b) => firstCommit(a) - firstCommit(b) || (a.manifest.id < b.manifest.id ? -1 : 1))
    const last = Math.max(0, ...logs.map(lastCommit))
    const wanted = new Set(Array.from({ length: commits }, () => 1 + Math.floor(random() * last)))
    for (const log of logs) this.#readLog(log, wanted)
    return {
      chain: this.#full.manifest.chain,
      full,
      differentials,
      steps: this.#steps,
      gaps: this.#gaps,
      commits: this.#commits,
      faults: this.#faults,
      counts: this.#counts,
    }
  }

  #readDifferential(backup: StoredBackup): CapturedState {
    const replay = new Replay(storedMember(this.#full, '.db'), this.#replay.pageSize)
    const { steps } = parseChanges(storedMember(backup, '.changes'))
    for (const { commits } of steps) for (const commit of commits) replay.add(commit)
    this.#expect(`${backup.manifest.id}: state`, tableOf(replay).state, steps.at(-1)?.step.after)
    return this.#stateOf('differential', backup, replay)
  }

  #readLog(backup: StoredBackup, wanted: ReadonlySet<number>): void {
    const { id, gaps = [], position, consistentAt, source } = backup.manifest
    const { steps } = parseChanges(storedMember(backup, '.changes'))
    const found = this.#gaps.length
    // A merge leaves neither an overlap nor a hole.
    this.#expect(`${id}: first commit`, source.details?.firstCommit, this.#lastCommit + 1)
    this.#expect(`${id}: begin`, position.begin, this.#position(this.#lastCommit))
    for (const step of steps) this.#readStep(backup, step, wanted)
    this.#expect(`${id}: end`, position.end, this.#position(this.#lastCommit))
    this.#expect(`${id}: last commit`, source.details?.lastCommit, this.#lastCommit)
    this.#expect(`${id}: state`, source.details?.state, this.#table.state)
    this.#expect(`${id}: consistentAt`, Date.parse(consistentAt), this.#lastTime)
    this.#compareGaps(id, gaps, this.#gaps.slice(found))
  }

  /** A gap may begin later than the last change before it, when it was looked and nothing had changed. */
  #compareGaps(id: string, told: readonly LogGap[], found: readonly LogGap[]): void {
    const outline = (gaps: readonly LogGap[]): string =>
      JSON.stringify(gaps.map(({ until, reason }) => [until, reason]))
    this.#expect(`${id}: gaps`, outline(told), outline(found))
    for (const [index, { after, until }] of told.entries()) {
      const least = found[index]?.after ?? after
      this.#expect(`${id}: gap after ${after}`, least <= after && after <= until, true)
      if (found[index]) this.#gaps[this.#gaps.indexOf(found[index])] = told[index] as LogGap
    }
  }

  #position(commit: number): string {
    return `${this.#full.manifest.chain}/${String(commit).padStart(15, '0')}`
  }

  #readStep(backup: StoredBackup, { step, commits }: StoredStep, wanted: ReadonlySet<number>): void {
    const name = `${backup.manifest.id}, commit ${step.firstCommit}`
    this.#expect(`${name}: before`, step.before, this.#table.state)
    this.#expect(`${name}: first`, step.firstCommit, this.#lastCommit + 1)
    this.#expect(`${name}: times`, this.#lastTime <= step.lookedAt && step.lookedAt <= step.capturedAt, true)
    const told = step.lastCommit - step.firstCommit + 1
    const thinned = commits.length === 1 && told > 1
    this.#expect(`${name}: commits`, commits.length, thinned ? 1 : told)
    let pages = 0
    for (const [index, commit] of commits.entries()) {
      const number = thinned ? step.lastCommit : step.firstCommit + index
      this.#replay.add(commit)
      this.#table.resize(commit.pageCount)
      for (const { page, hash, image } of commit.pages) {
        const words = hashPage(image)
        if (!hash.equals(Buffer.from(words.buffer)))
          this.#expect(`${name}: hash of page ${page}`, 'another', 'the same')
        this.#table.set(page, words)
      }
      pages += commit.pages.length
      // What tells that no commit is missing: each one counts itself in the database.
      if (commit.pages.some(({ page }) => page === MARK_PAGE)) this.#follow(name, step, thinned ? told : 1)
      if (wanted.has(number)) {
        const { sha256 } = this.#replay
        this.#commits.push({ commit: number, time: step.capturedAt, sha256 })
      }
    }
    this.#expect(`${name}: after`, step.after, this.#table.state)
    if (step.how === 'comparison' && pages > 0) this.#noteGap(name, step)
    this.#counts.commits += told
    this.#counts.pages += pages
    this.#lastCommit = step.lastCommit
    this.#lastTime = step.capturedAt
    this.#lastStep = step
    const { lookedAt, capturedAt, lastCommit } = step
    this.#steps.push({
      ...this.#stateOf('step', backup, this.#replay),
      lookedAt,
      time: capturedAt,
      commit: lastCommit,
    })
  }

  /** Commits that the log had in their order continue the history without a hole. */
  #follow(name: string, { how }: Step, most: number): void {
    const mark = markOfPage(this.#replay.page(MARK_PAGE))
    const counted = mark.commits - this.#mark.commits
    if (how === 'log' && (counted < 0 || counted > most))
      this.#expect(`${name}: transactions from ${this.#mark.commits} on`, counted, most)
    this.#mark = mark
  }

  #noteGap(name: string, { capturedAt, reason = '' }: Step): void {
    this.#counts.comparisons++
    this.#expect(`${name}: has a reason`, /^[A-Z].*\.$/.test(reason), true)
    if (this.#lastStep && /not known where/.test(reason))
      this.#expect(`${name}: where the log was before`, this.#lastStep.mark, undefined)
    const iso = (ms: number): string => new Date(ms).toISOString()
    this.#gaps.push({ after: iso(this.#lastTime), until: iso(capturedAt), reason })
  }

  /** Looks into the state that is reached now, and checks that it is the one of a commit. */
  #stateOf(of: CapturedState['of'], { manifest }: StoredBackup, replay: Replay): CapturedState {
    const { mark, integrity, faults } = readHistory(replay.readable())
    this.#expect(`${manifest.id}: integrity`, integrity, 'ok')
    for (const fault of faults) this.#faults.push(`${manifest.id}: ${fault}`)
    const time = timeOf(manifest)
    return { of, backup: manifest.id, lookedAt: time, time, sha256: replay.sha256, mark }
  }

  #expect(what: string, found: unknown, wanted: unknown): void {
    if (found !== wanted) this.#faults.push(`${what}: ${found}, not ${wanted}`)
  }
}

function tableOf(replay: Replay): PageTable {
  const pageCount = replay.bytes.length / replay.pageSize
  const table = new PageTable(replay.pageSize, pageCount)
  for (let page = 1; page <= pageCount; page++) table.set(page, hashPage(replay.page(page)))
  return table
}
