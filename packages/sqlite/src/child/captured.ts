import type { Compression, SentFacts } from '@taskflow-backup/core'
import { replay } from '../changes/commits.ts'
import type { LogMark, Step } from '../changes/format.ts'
import { hashPage, PageTable, wordsOf } from '../changes/page-table.ts'
import { type CapturedLog, emptyStep, logOf, writeEmptyLog } from './captured-log.ts'
import { ChangeStore, pagesIn } from './change-store.ts'
import type { Base } from './read-base.ts'
import { renumber, StepStates, splitStep } from './step-states.ts'
import type { CommitVisitor } from './wal-frames.ts'

/** So much of what was committed to a backup is kept, for a new full that was made in the meantime. */
const HISTORY_BYTES = 256 * 1024 * 1024

/** Up to where it is wanted: the state of another full, and its time. */
export interface Until {
  readonly state?: string
  readonly consistentAt: number
}

/** Pages were compared, for this reason. */
type Compared = Pick<Step, 'reason'>

/** Where the first step begins. `notBefore`: milliseconds since 1970 of the newest backup of the chain. */
export type Start = Base & { readonly notBefore: number }

/**
 * What was captured of a database: steps that wait for a backup, and those of the last backups for a while, because a
 * full that is made meanwhile begins a chain somewhere among them.
 */
export class Captured {
  readonly #temporaryDirectory: string
  readonly #historyBytes: number
  #store: ChangeStore
  #states = new StepStates()
  /** So many of the first steps are in a committed backup. */
  #committed = 0
  /** End of what was written last, which may be in a backup that is committed just now. */
  #written: { to: number; capturedAt: number; compared?: Compared | undefined } | undefined
  /** The last comparison that found nothing, if there was one since the last committed backup. */
  #compared: Compared | undefined
  #table: PageTable
  /** As of the last committed backup: what is compared with when the rest cannot be kept. */
  #committedTable: PageTable
  #committedCommit: number
  #committedAt: number
  #lastLookAt: number
  /** Where the write-ahead log was at the last look, if that is known. */
  #lastMark: LogMark | undefined

  constructor(base: Start, temporaryDirectory: string, historyBytes = HISTORY_BYTES) {
    this.#temporaryDirectory = temporaryDirectory
    this.#historyBytes = historyBytes
    this.#store = new ChangeStore(base.table.pageSize, temporaryDirectory)
    this.#table = base.table
    this.#committedTable = copyOf(base.table)
    this.#committedCommit = base.lastCommit
    this.#committedAt = base.capturedAt
    this.#lastLookAt = base.notBefore
    this.#lastMark = base.mark
  }

  /** The newest state. */
  get table(): PageTable {
    return this.#table
  }

  get store(): ChangeStore {
    return this.#store
  }

  get #steps(): readonly Step[] {
    return this.#store.steps
  }

  get isPending(): boolean {
    return this.#steps.length > this.#committed
  }

  get pendingSteps(): number {
    return this.#steps.length - this.#committed
  }

  get pendingBytes(): number {
    return pagesIn(this.#steps.slice(this.#committed)) * this.#table.pageSize
  }

  /** When what waits longest was looked for. */
  get pendingSince(): number | undefined {
    return this.#steps[this.#committed]?.lookedAt
  }

  get lastCommit(): number {
    return this.#steps.at(-1)?.lastCommit ?? this.#committedCommit
  }

  get lastLookAt(): number {
    return this.#lastLookAt
  }

  /** Takes commits; {@link endStep} makes a step of them. When it throws, {@link drop} must follow. */
  get visitor(): CommitVisitor {
    let pageCount = 0
    return {
      begin: (count) => {
        pageCount = count
        this.#table.resize(count)
        this.#store.begin()
      },
      page: (page, image) => {
        const hash = hashPage(image)
        if (this.#table.set(page, hash)) this.#store.add(page, hash, image)
      },
      end: () => {
        this.#store.endCommit(pageCount)
        this.#states.endCommit(this.#table.state)
      },
    }
  }

  /** The look is over; `before` is the state before it. Without a commit there is no step. */
  endStep(
    before: string,
    { lookedAt, capturedAt, how, reason, mark }: Pick<Step, 'lookedAt' | 'capturedAt' | 'how' | 'reason' | 'mark'>,
  ): void {
    const since = this.#lastLookAt
    this.#lastLookAt = capturedAt
    this.#lastMark = mark
    const commits = this.#store.openCommits
    if (commits === 0) {
      if (how === 'comparison') this.#compared = { ...(reason !== undefined && { reason }) }
      return
    }
    const firstCommit = this.lastCommit + 1
    this.#store.endStep({
      lookedAt,
      capturedAt,
      since,
      how,
      ...(reason !== undefined && { reason }),
      before,
      after: this.#table.state,
      firstCommit,
      lastCommit: firstCommit + commits - 1,
      ...(mark && { mark }),
    })
    this.#states.endStep(commits, this.#table.state)
  }

  /**
   * Forgets what is in no committed backup, and not in one that is being made: the next look has to compare. What is
   * left is not on the way that leads to where the log is now.
   */
  drop(): void {
    const written = this.#written
    this.#table = copyOf(this.#committedTable)
    this.#lastMark = undefined
    if (written && written.to > this.#committed) {
      this.#replay(this.#table, written.to)
      this.#store.truncate(written.to)
      this.#states.truncate(written.to)
      this.#lastLookAt = written.capturedAt
      return
    }
    this.clear()
    this.#store = new ChangeStore(this.#committedTable.pageSize, this.#temporaryDirectory)
    this.#states = new StepStates()
    this.#committed = 0
    if (written) this.#written = { ...written, to: 0 }
    this.#lastLookAt = this.#committedAt
  }

  /** Takes the steps from the last committed one to before `to` over into `table`. */
  #replay(table: PageTable, to: number): void {
    const index = this.#store.index(this.#committed, to)
    const commits = index.steps.flatMap((step) => step.commits)
    replay(table, index, wordsOf(index.hashes), { first: 0, commits })
  }

  /** Gives room and files back. */
  clear(): void {
    this.#store.clear()
  }

  /**
   * Writes what is pending, up to `until`. More may be captured meanwhile, and be dropped again; but nothing be written,
   * committed or continued.
   */
  async write(
    path: string,
    compression: Compression,
    until?: Until,
  ): Promise<SentFacts & { readonly log: CapturedLog }> {
    const end = until ? this.#endOf(until) : this.#steps.length // may divide a step: asked first
    const from = this.#committed
    const to = Math.max(from, end)
    if (to === from) {
      const capturedAt = until
        ? Math.max(this.#committedAt, Math.min(until.consistentAt, this.#lastLookAt))
        : this.#lastLookAt
      this.#written = { to, capturedAt, compared: this.#compared }
      const mark = this.isPending ? this.#steps[from - 1]?.mark : this.#lastMark
      const { state } = this.#committedTable
      const how = this.#compared ? 'comparison' : 'log'
      const told = { capturedAt, how, ...this.#compared, ...(mark && { mark }) } as const
      const step = emptyStep({ ...told, state, lastCommit: this.#committedCommit })
      const sent = await writeEmptyLog(path, compression, step, this.#table.pageSize)
      return { ...sent, log: logOf([step]) }
    }
    const steps = this.#steps.slice(from, to)
    this.#written = { to, capturedAt: (steps.at(-1) as Step).capturedAt, compared: this.#compared }
    const log = logOf(steps)
    const { plain, stored } = await this.#store.write(path, compression, { from, to })
    return { plain, stored, log }
  }

  /** What was written last is in a committed backup. */
  committed(): void {
    if (!this.#written) return
    const { to, capturedAt, compared } = this.#written
    // One that came while it was written is for the next backup.
    if (this.#compared === compared) this.#compared = undefined
    this.#replay(this.#committedTable, to)
    if (to > this.#committed) this.#committedCommit = (this.#steps[to - 1] as Step).lastCommit
    this.#committedAt = capturedAt
    this.#committed = to
    this.#written = undefined
    this.#trimHistory()
  }

  #trimHistory(): void {
    const { pageSize } = this.#table
    let bytes = pagesIn(this.#steps.slice(0, this.#committed)) * pageSize
    if (bytes <= this.#historyBytes) return
    let count = 0 // half of it, so that what stays is not copied each time
    while (count < this.#committed && bytes > this.#historyBytes / 2)
      bytes -= pagesIn([this.#steps[count++] as Step]) * pageSize
    this.#forget(count)
  }

  #forget(steps: number): void {
    this.#store.clear(steps)
    this.#states.forget(steps)
    this.#committed = Math.max(0, this.#committed - steps)
  }

  /**
   * From now on what was captured continues `base`, the full of another chain, if its state is among it. False, and
   * nothing has changed, when it is not.
   */
  continueFrom(base: Start): boolean {
    if (base.table.pageSize !== this.#table.pageSize) return false
    const at = this.#find(base.table.state)
    if (at === undefined) return false
    this.#forget(at)
    this.#committed = 0
    this.#written = undefined
    this.#store.relabel(renumber(this.#steps, base))
    this.#committedTable = base.table
    this.#committedCommit = base.lastCommit
    this.#committedAt = base.capturedAt
    this.#lastLookAt = Math.max(this.#lastLookAt, base.notBefore)
    return true
  }

  #endOf({ state, consistentAt }: Until): number {
    const found = state === undefined ? undefined : this.#find(state)
    return found ?? this.#steps.findLastIndex(({ capturedAt }) => capturedAt <= consistentAt) + 1
  }

  /** The number of steps up to the newest moment at which the state was that one; divides a step where it must. */
  #find(state: string): number | undefined {
    const found = this.#states.find(state)
    if (found) {
      this.#split(found.index, found.commits)
      return found.index + 1
    }
    const first = this.#steps[0]
    return (first ? first.before : this.#table.state) === state ? 0 : undefined
  }

  #split(index: number, commits: number): void {
    const step = this.#steps[index] as Step
    if (commits === step.commits.length) return
    const between = this.#states.split(index, commits)
    const [before, after] = [this.#steps.slice(0, index), this.#steps.slice(index + 1)]
    this.#store.relabel([...before, ...splitStep(step, commits, between), ...after])
    if (this.#committed > index) this.#committed++
  }
}

const copyOf = (table: PageTable): PageTable => PageTable.from(table.pageSize, Buffer.from(table.bytes))
