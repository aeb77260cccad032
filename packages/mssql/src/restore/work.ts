import type { AdapterContext } from '@taskflow-backup/core'
import type { CheckedOptions } from '../options.ts'
import { openSession, type SqlSession } from '../session.ts'
import { WORK_ID_LENGTH } from '../transfer/names.ts'
import { lockWork } from '../work-lock.ts'

/** One restore or undo: its id, and the connection that holds its lock. */
export class RestoreWork {
  readonly id: string
  readonly #options: CheckedOptions
  #session: SqlSession

  private constructor(options: CheckedOptions, id: string, session: SqlSession) {
    this.#options = options
    this.id = id
    this.#session = session
  }

  static async begin(options: CheckedOptions, ctx: AdapterContext): Promise<RestoreWork> {
    const id = ctx.randomId(WORK_ID_LENGTH)
    const session = await openSession(options, ctx.signal)
    try {
      await lockWork(session, id)
    } catch (error) {
      await session.close()
      throw error
    }
    return new RestoreWork(options, id, session)
  }

  /** The connection; another one when the first is gone, so that what was begun can be ended or taken back. */
  async session(): Promise<SqlSession> {
    if (!this.#session.broken) return this.#session
    await this.#session.close()
    this.#session = await openSession(this.#options, new AbortController().signal)
    // Until the server has noticed that the first is gone, it holds the lock still.
    await lockWork(this.#session, this.id).catch(() => {})
    return this.#session
  }

  async end(): Promise<void> {
    await this.#session.close()
  }
}
