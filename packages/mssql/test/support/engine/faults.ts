import { once } from 'node:events'
import type { ServerMessage } from '../tds/tokens.ts'
import { SqlError } from './errors.ts'

/**
 * What happens to a statement: it fails with these errors; its connection is dropped; or nothing comes any more, until
 * the client cancels or leaves. Errors come as given; half through a BACKUP or RESTORE, 3013 follows them.
 */
export type Fault = readonly ServerMessage[] | 'drop' | 'hang'

/** Before the statement does anything, half through a BACKUP or RESTORE, or when all is done but not said yet. */
export type Moment = 'before' | 'middle' | 'after'

export interface FaultOptions {
  /** How often. Default: once. */
  readonly times?: number
  /** How many matching statements are let through first. Default: none. */
  readonly skip?: number
  /** Default: `before`. */
  readonly at?: Moment
}

interface Planned {
  readonly pattern: RegExp
  readonly fault: Fault
  readonly at: Moment
  left: number
  skip: number
}

/** Failures that a test has ordered. */
export class Faults {
  readonly #planned: Planned[] = []

  plan(pattern: RegExp | string, fault: Fault, { times = 1, skip = 0, at = 'before' }: FaultOptions): void {
    const matching = typeof pattern === 'string' ? new RegExp(pattern.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')) : pattern
    this.#planned.push({ pattern: matching, fault, at, left: times, skip })
  }

  clear(): void {
    this.#planned.length = 0
  }

  /** Faults that have not struck yet: a test that ends with one has not tested what it meant to. */
  get pending(): number {
    return this.#planned.filter(({ left }) => left > 0).length
  }

  /** @throws the errors that were ordered */
  async strike(at: Moment, text: string, { drop, signal }: { drop(): void; readonly signal: AbortSignal }) {
    for (const planned of this.#planned) {
      if (planned.at !== at || planned.left < 1 || !planned.pattern.test(text)) continue
      if (planned.skip-- > 0) continue
      planned.left--
      if (planned.fault === 'drop') drop()
      else if (planned.fault !== 'hang') throw new SqlError(...planned.fault)
      if (!signal.aborted) await once(signal, 'abort')
      throw new SqlError()
    }
  }
}
