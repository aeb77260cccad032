import { readCatalog } from '../catalog.ts'
import type { BackupBase } from '../contracts/adapter.ts'
import { BackupError } from '../errors.ts'
import { chainEnd, manifestKey, meaningOf, planPrefix } from '../layout.ts'
import { openBackup } from '../open-backup.ts'
import type { Destination } from '../plan.ts'
import { findBase } from './find-base.ts'
import type { MadeBackup, Start } from './make-backup.ts'
import { lockHome, type Work } from './run.ts'

/** What the next log continues. */
export type LogStart = Start & { readonly kind: 'log'; readonly chain: string; readonly base: BackupBase }

/**
 * The chain that is followed, kept in memory: a log each second cannot list the whole catalogue each time. It is listed
 * anew every `relistMs`; in between a look at its newest backup finds that it was removed, and a listing of what is
 * behind the chain finds fulls that somebody else made.
 */
export class FollowedChain {
  readonly #work: Work
  readonly #relistMs: number
  readonly #nowMs: () => number
  #start: LogStart | undefined
  #chains: ReadonlySet<string> = new Set()
  /** What was told about manifests that cannot be read: each listing comes upon them again. */
  readonly #told = new Set<string>()
  /** When everything was listed; absent when what is known must not be relied on. */
  #listedMs: number | undefined

  constructor(work: Work, relistMs: number, nowMs: () => number) {
    this.#work = work
    this.#relistMs = relistMs
    this.#nowMs = nowMs
  }

  get start(): LogStart {
    if (!this.#start) throw new BackupError('INTERNAL', 'The chain was not read yet.')
    return this.#start
  }

  /** Whether the full of `chain` was there when it was last listed: it may have been pruned. */
  isListed(chain: string): boolean {
    return this.#chains.has(chain)
  }

  /** Something unforeseen happened: the next look lists everything. */
  distrust(): void {
    this.#listedMs = undefined
  }

  /**
   * Lists what is there and goes on with it; a full when there is no chain that a log could continue.
   *
   * @throws `BASE_MISSING` with `strictKinds`, `DESTINATION_FAILED`
   */
  async read(): Promise<Start> {
    const start = await this.#list()
    if (isLog(start)) this.use(start)
    // Whoever does not hold the write lock may have missed a full that was being made.
    this.distrust()
    return start
  }

  /** Under the write lock: what is there now, when it is not what was there before. */
  async changed(): Promise<Start | undefined> {
    const { chain, base } = this.start
    if (!(await this.#mustList())) return undefined
    const listedMs = this.#nowMs()
    const start = await this.#list()
    this.#listedMs = listedMs
    if (!isLog(start) || start.chain !== chain) return start
    const [known, found] = [endOf(base), endOf(start.base)]
    if (this.#work.plan.adapter.comparePositions(known, found) !== 0) return start
    // The same, perhaps in other pieces: logs are merged.
    this.use(start)
    return undefined
  }

  use(start: LogStart): void {
    this.#start = start
  }

  /** A log was committed to `start`: the next one continues it. */
  advance(start: LogStart, { manifest, destinations }: MadeBackup): void {
    const { plan, signal } = this.#work
    const failed = destinations.filter(({ error }) => error).map(({ name }) => name)
    const without = new Set([...(start.without ?? []), ...failed])
    const holder = destinations.find(({ error }) => !error)
    const holds = plan.destinations.find(({ name }) => name === holder?.name) as Destination
    const { full } = start.base
    this.#start = {
      ...start,
      base: {
        full,
        previous: openBackup(holds, manifest, signal),
        newestLog: manifest,
        logs: async () => {
          const { base, chain } = await this.#list()
          if (!base || chain !== start.chain) throw new BackupError('BASE_UNUSABLE', `Chain ${start.chain} is gone.`)
          return base.logs()
        },
      },
      after: new Date(manifest.startedAt),
      without,
    }
  }

  async #mustList(): Promise<boolean> {
    if (this.#listedMs === undefined || this.#nowMs() - this.#listedMs >= this.#relistMs) return true
    const { plan } = this.#work
    const { chain, base } = this.start
    const home = lockHome(plan) as Destination
    const previous = manifestKey(plan.name, base.previous.manifest.id)
    // A merged log may have taken its place. Or somebody removed it: what was built on it could not be restored.
    if (!(await home.storage.stat(previous))) return true
    // Whoever makes a full holds the write lock, so there is none half made; its name sorts after all that were there.
    for await (const { key } of home.storage.list(planPrefix(plan.name), { after: chainEnd(plan.name, chain) })) {
      const meaning = meaningOf(plan.name, key)
      if (meaning.is === 'manifest' && meaning.backup.kind === 'full' && meaning.backup.chain > chain) return true
    }
    return false
  }

  async #list(): Promise<Start> {
    const { plan, signal } = this.#work
    const catalog = await readCatalog(plan.name, plan.destinations)
    const away = catalog.unreachable.find(({ destination }) =>
      plan.destinations.some(({ name, required }) => required && name === destination),
    )
    // It may hold the whole chain: that it cannot be read now is no reason for a full.
    if (away) {
      const message = `Destination ${away.destination} failed: ${away.message}`
      const details = { destination: away.destination, code: away.code }
      throw new BackupError('DESTINATION_FAILED', message, { retryable: true, details })
    }
    this.#chains = new Set(catalog.backups.filter(({ kind }) => kind === 'full').map(({ chain }) => chain))
    const warn = (message: string): void => {
      if (!this.#told.has(message)) this.#work.warn(message)
      this.#told.add(message)
    }
    return findBase({ plan, warn }, 'log', signal, catalog)
  }
}

export const isLog = (start: Start): start is LogStart => start.kind === 'log'

const endOf = ({ newestLog, full }: BackupBase): string => (newestLog ?? full.manifest).position.end
