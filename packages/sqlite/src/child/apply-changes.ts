import { BackupError } from '@taskflow-backup/core'
import { type ChosenSteps, chooseSteps, type Limit, unreachable } from '../changes/choose-steps.ts'
import { type Commits, isHash, outcomeOf, pagesOf, replay } from '../changes/commits.ts'
import { type ChangesIndex, readIndex, type Step } from '../changes/format.ts'
import { PageTable, wordsOf } from '../changes/page-table.ts'
import { PieceReader } from '../changes/piece-reader.ts'
import { PageWriter } from './page-writer.ts'

/** One differential or log. */
export interface ChangesToApply {
  readonly kind: 'differential' | 'log'
  /** Plain content of its member `.changes`; a piece is gone when the next is asked for. */
  readonly pieces: AsyncIterable<Uint8Array>
  readonly plainBytes: number
  /** Of a differential: a commit that it is not before. */
  readonly commit?: number
}

/** A database file that is brought from the state of a full to a later one, backup by backup. */
export class Recovery {
  readonly #writer: PageWriter
  readonly #limit: Limit
  #table: PageTable
  /** Number of the commit that it is at; with a differential one that it is not before. */
  #commit = 0
  /** The step of a differential, until a log has told where in the order of commits it is. */
  #differential: Step | undefined
  /** Whether it is later than its time says, because the clock had been put back: a step captured after it is before. */
  #isMisdated = false
  #isFinished: boolean

  /** `fd`: a file that holds the state of `table`, the chain's full. */
  constructor(fd: number, table: PageTable, limit: Limit) {
    this.#writer = new PageWriter(fd, table.pageSize, table.pageCount)
    this.#table = table
    this.#limit = limit
    this.#isFinished = limit.commit === 0
  }

  /** True when nothing more has to be applied. */
  get isFinished(): boolean {
    return this.#isFinished
  }

  /** What the file must be now. @throws `POINT_UNREACHABLE` when it is not where it was to stop */
  result(): { readonly pageSize: number; readonly state: string; readonly commit?: number } {
    const { at, commit: wanted } = this.#limit
    const isKnown = this.#differential === undefined
    if (!isKnown && this.#isMisdated && at !== undefined) throw misdated(at)
    if (wanted !== undefined && (!isKnown || wanted !== this.#commit)) {
      if (!isKnown || wanted < this.#commit) throw behindDifferential(wanted)
      throw unreachable(wanted, `the backups up to the moment that was asked for end with commit ${this.#commit}`)
    }
    const { pageSize, state } = this.#table
    return { pageSize, state, ...(isKnown && { commit: this.#commit }) }
  }

  /** @throws `MEMBER_DAMAGED`, `POINT_UNREACHABLE`, what `pieces` throws and what the file system throws */
  async apply({ kind, pieces, plainBytes, commit }: ChangesToApply): Promise<void> {
    const reader = new PieceReader(pieces, plainBytes)
    try {
      const index = await readIndex(reader.read)
      const { pageSize } = this.#table
      if (index.pageSize !== pageSize) throw damaged(`has pages of ${index.pageSize} bytes instead of ${pageSize}`)
      if (reader.left !== index.pages.length * pageSize) throw damaged('does not end after its last page')
      const all: ChosenSteps = { first: 0, end: index.steps.length, partly: 0, isLast: false }
      const chosen = kind === 'log' ? chooseSteps(index.steps, this.#commit, this.#limit) : all
      const words = wordsOf(index.hashes)
      const commits = commitsOf(index.steps, chosen)
      if (this.#advance(index, words, chosen)) await this.#write(reader, index, words, commits)
      if (kind === 'differential') {
        this.#commit = commit ?? 0
        this.#differential = index.steps.at(-1)
      }
      this.#isFinished = chosen.isLast
      // What is behind the limit does not matter, not even whether it is damaged.
      if (!chosen.isLast) await reader.end()
    } finally {
      await reader.close()
    }
  }

  /**
   * Takes the steps over into the table, and holds its state against what they tell. False when they lead nowhere new.
   *
   * A differential is somewhere before, inside or behind the steps of the log that follows. Whole pages may be written
   * again, so all of the steps are: those that lead past the differential lead to the state that they tell. Where that
   * is not reached, the differential is behind all of them, and holds what they hold.
   */
  #advance(index: ChangesIndex, words: Uint32Array, { first, end, partly }: ChosenSteps): boolean {
    const differential = this.#differential
    const table = differential ? PageTable.from(index.pageSize, this.#table.bytes) : this.#table
    let isKnown = differential === undefined
    let commit = this.#commit
    let next = firstPageOf(index.steps, first)
    const begin = (step: Step): void => {
      isKnown ||= differential?.after === step.before
      if (isKnown && table.state !== step.before) throw damaged('does not go on where the backup before it ends')
    }
    for (const step of index.steps.slice(first, end)) {
      begin(step)
      replay(table, index, words, { first: next, commits: step.commits })
      next += pagesOf(step.commits)
      isKnown ||= table.state === step.after && !isBefore(step, differential as Step)
      if (isKnown && table.state !== step.after) throw damaged('does not lead to the state that it tells')
      commit = step.lastCommit
    }
    if (partly > 0) {
      const step = index.steps[end] as Step
      begin(step)
      commit = step.firstCommit + partly - 1
      if (!isKnown) throw behindDifferential(commit)
      replay(table, index, words, { first: next, commits: step.commits.slice(0, partly) })
    }
    if (!isKnown) {
      const last = index.steps[end - 1]
      if (differential && end > first && last && last.capturedAt > differential.capturedAt) this.#isMisdated = true
      return false
    }
    this.#table = table
    this.#commit = commit
    this.#differential = undefined
    return true
  }

  async #write(
    reader: PieceReader,
    { pageSize, pages }: ChangesIndex,
    words: Uint32Array,
    commits: Commits,
  ): Promise<void> {
    if (commits.commits.length === 0) return
    const { pageCount, fewest, kept } = outcomeOf(pages, commits)
    const writer = this.#writer
    // Pages that were cut off meanwhile and came back without being written are zeros.
    writer.resize(fewest)
    const last = kept.lastIndexOf(1)
    let skipped = commits.first
    for (let i = 0; i <= last; i++, skipped++) {
      if (kept[i] === 0) continue
      await reader.skip(skipped * pageSize)
      skipped = -1
      const at = commits.first + i
      const page = pages[at] as number
      const image = writer.place(page)
      await reader.readInto(image)
      if (!isHash(image, words, at)) throw damaged(`has another page ${page} than its index tells`)
    }
    writer.resize(pageCount)
  }
}

/**
 * Whether a step was captured before a differential. Pages that are written again and again may lead from the
 * differential back to an earlier state, so that the state alone does not tell.
 */
function isBefore(step: Step, differential: Step): boolean {
  const [mark, other] = [step.mark, differential.mark]
  if (mark && other && mark.salts === other.salts) return mark.frame < other.frame
  return step.capturedAt < differential.lookedAt
}

function commitsOf(steps: readonly Step[], { first, end, partly }: ChosenSteps): Commits {
  const commits = steps.slice(first, end).flatMap((step) => step.commits)
  if (partly > 0) commits.push(...(steps[end] as Step).commits.slice(0, partly))
  return { first: firstPageOf(steps, first), commits }
}

const firstPageOf = (steps: readonly Step[], step: number): number =>
  steps.slice(0, step).reduce((sum, { commits }) => sum + pagesOf(commits), 0)

const misdated = (at: number): BackupError =>
  new BackupError(
    'POINT_UNREACHABLE',
    `The differential backup before ${new Date(at).toISOString()} was made later than its time says, perhaps after that.`,
    { hint: 'Name a moment before the differential; then it is not used.' },
  )

const damaged = (why: string): BackupError => new BackupError('MEMBER_DAMAGED', `It ${why}.`)

const behindDifferential = (commit: number): BackupError =>
  unreachable(commit, 'a differential backup leads past it, and no unbroken row of logs leads to it')
