import { BackupError } from '@taskflow-backup/core'
import { type ChosenSteps, chooseSteps, type Limit, unreachable } from '../changes/choose-steps.ts'
import { type Commits, hashWords, outcomeOf, replay } from '../changes/commits.ts'
import { type ChangesIndex, readIndex, type Step } from '../changes/format.ts'
import { hashPage, PageTable } from '../changes/page-table.ts'
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
  /** Number of the commit that it is at; after a differential one that it is not before, until a log tells. */
  #commit = 0
  #isCommitKnown = true
  #isFinished: boolean

  /** `fd`: a file that holds the state of `table`, the chain's full. */
  constructor(fd: number, table: PageTable, limit: Limit) {
    this.#writer = new PageWriter(fd, table.pageSize)
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
    const { commit: wanted } = this.#limit
    if (wanted !== undefined && (!this.#isCommitKnown || wanted !== this.#commit)) {
      if (!this.#isCommitKnown || wanted < this.#commit) throw behindDifferential(wanted)
      throw unreachable(wanted, `the backups up to the moment that was asked for end with commit ${this.#commit}`)
    }
    const { pageSize, state } = this.#table
    return { pageSize, state, ...(this.#isCommitKnown && { commit: this.#commit }) }
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
      const words = hashWords(index)
      const commits = commitsOf(index.steps, chosen)
      if (this.#advance(index, words, chosen)) await this.#write(reader, index, words, commits)
      if (kind === 'differential') {
        this.#commit = commit ?? 0
        this.#isCommitKnown = false
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
   * A differential is somewhere inside or behind the steps of the log that follows. Whole pages may be written again, so
   * all of the steps are: when the state is then the one that the last of them tells, they lead past the differential.
   * When it is not, the differential is behind all of them, and holds what they hold.
   */
  #advance(index: ChangesIndex, words: Uint32Array, { first, end, partly }: ChosenSteps): boolean {
    const wasKnown = this.#isCommitKnown
    const table = wasKnown ? this.#table : PageTable.from(index.pageSize, this.#table.bytes)
    let isKnown = wasKnown
    let commit = this.#commit
    let next = firstPageOf(index.steps, first)
    for (const step of index.steps.slice(first, end)) {
      isKnown ||= table.state === step.before
      if (isKnown && table.state !== step.before) throw damaged('does not go on where the backup before it ends')
      replay(table, index, words, { first: next, commits: step.commits })
      next += pagesOf(step.commits)
      isKnown ||= table.state === step.after
      if (isKnown && table.state !== step.after) throw damaged('does not lead to the state that it tells')
      commit = step.lastCommit
    }
    if (partly > 0) {
      const step = index.steps[end] as Step
      isKnown ||= table.state === step.before
      if (!isKnown) throw behindDifferential(step.firstCommit + partly - 1)
      if (table.state !== step.before) throw damaged('does not go on where the backup before it ends')
      replay(table, index, words, { first: next, commits: step.commits.slice(0, partly) })
      commit = step.firstCommit + partly - 1
    }
    if (!isKnown) return false
    this.#table = table
    this.#commit = commit
    this.#isCommitKnown = true
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

/** Whether the hash of a page is the one at `at` in the words of an index. */
export function isHash(image: Uint8Array, words: Uint32Array, at: number): boolean {
  const hash = hashPage(image)
  for (let i = 0; i < hash.length; i++) if (hash[i] !== words[at * hash.length + i]) return false
  return true
}

function commitsOf(steps: readonly Step[], { first, end, partly }: ChosenSteps): Commits {
  const commits = steps.slice(first, end).flatMap((step) => step.commits)
  if (partly > 0) commits.push(...(steps[end] as Step).commits.slice(0, partly))
  return { first: firstPageOf(steps, first), commits }
}

const firstPageOf = (steps: readonly Step[], step: number): number =>
  steps.slice(0, step).reduce((sum, { commits }) => sum + pagesOf(commits), 0)

const pagesOf = (commits: Step['commits']): number => commits.reduce((sum, [, written]) => sum + written, 0)

const damaged = (why: string): BackupError => new BackupError('MEMBER_DAMAGED', `It ${why}.`)

const behindDifferential = (commit: number): BackupError =>
  unreachable(
    commit,
    'a differential backup leads past it',
    'Name with `at` a moment before the differential; then it is not used.',
  )
