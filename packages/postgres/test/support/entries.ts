import { setTimeout as sleep } from 'node:timers/promises'
import type { TestServer } from './server.ts'

/** A row, and when it was committed by the server's clock, in microseconds since 1970. */
export interface Entry {
  readonly id: number
  readonly committedUs: number
}

export const ENTRIES = 'SELECT id::int AS id FROM entry ORDER BY id'

/** Sessions that insert row after row, each in a transaction of its own. */
export class Writers {
  readonly #server: TestServer
  readonly #done: Promise<void>[] = []
  readonly #acknowledged = new Set<number>()
  #going = true

  private constructor(server: TestServer) {
    this.#server = server
  }

  static async createTable(server: TestServer): Promise<void> {
    await server.sql('CREATE TABLE entry (id bigserial PRIMARY KEY, at timestamptz NOT NULL)')
  }

  static start(server: TestServer, sessions: number): Writers {
    const writers = new Writers(server)
    for (let i = 0; i < sessions; i++) writers.#done.push(writers.#write())
    return writers
  }

  /** Ids of the rows whose commit the server has told. */
  acknowledged(): number[] {
    return [...this.#acknowledged].sort((a, b) => a - b)
  }

  /** Waits until so many more rows have been committed, however busy the machine is. */
  async further(rows: number): Promise<void> {
    const wanted = this.#acknowledged.size + rows
    while (this.#acknowledged.size < wanted) await sleep(5)
  }

  async stop(): Promise<void> {
    this.#going = false
    await Promise.all(this.#done)
  }

  async #write(): Promise<void> {
    const client = await this.#server.client()
    try {
      while (this.#going) {
        const { rows } = await client.query('INSERT INTO entry (at) VALUES (clock_timestamp()) RETURNING id::int AS id')
        this.#acknowledged.add(rows[0].id)
        await sleep(1) // there is no use in more rows than moments
      }
    } catch (error) {
      if (this.#going) throw error
    } finally {
      await client.end().catch(() => {})
    }
  }
}

/** All rows with the time of their commit; needs `track_commit_timestamp`. */
export async function committedEntries(server: TestServer): Promise<Entry[]> {
  const rows = await server.sql(
    `SELECT id::int AS id, (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint AS us FROM entry ORDER BY id`,
  )
  return rows.map(({ id, us }) => ({ id, committedUs: Number(us) }))
}
