import sql from 'mssql'
import { type PoolConfig, poolFor } from '../tds/client.ts'
import type { FakeSqlServer } from './server.ts'

/** What a statement said: information in its order, and the errors, the cause first. */
export interface Outcome {
  readonly info: readonly number[]
  readonly errors: readonly number[]
  readonly messages: readonly string[]
}

export interface Client {
  /** Runs a statement; errors are part of what it returns. */
  run(statement: string): Promise<Outcome>
  /** Runs a statement that must succeed. */
  must(statement: string): Promise<Outcome>
  /** All rows of a query with parameters, through sp_executesql. */
  rows<T = Record<string, unknown>>(query: string, params?: Readonly<Record<string, unknown>>): Promise<T[]>
  readonly pool: sql.ConnectionPool
  close(): Promise<void>
}

interface Thrown extends Error {
  readonly number?: number
  readonly precedingErrors?: readonly Thrown[]
}

/** One connection to a server, as mssql makes it. On 127.0.0.1 unless `config` says so. */
export async function connectTo(
  server: Pick<FakeSqlServer, 'port' | 'config'>,
  config: Omit<PoolConfig, 'port'> = {},
): Promise<Client> {
  const { user = 'sa', password = '', options = {} } = server.config
  const pool = await poolFor({ port: server.port, user, password, pool: { max: 1 }, options, ...config }).connect()

  // The pool has only tried to connect so far.
  await pool.request().query('SELECT 1')

  async function run(statement: string): Promise<Outcome> {
    const request = pool.request()
    const info: number[] = []
    const messages: string[] = []
    request.on('info', ({ number, message }: { number: number; message: string }) => {
      info.push(number)
      messages.push(message)
    })
    const errors: Thrown[] = []
    await request.batch(statement).catch((thrown: Thrown) => errors.push(...(thrown.precedingErrors ?? []), thrown))
    messages.push(...errors.map(({ message }) => message))
    return { info, errors: errors.map(({ number }) => number ?? 0), messages }
  }

  return {
    pool,
    run,
    async must(statement) {
      const outcome = await run(statement)
      if (outcome.errors.length) throw new Error(`${statement}: ${outcome.messages.join(' ')}`)
      return outcome
    },
    async rows<T>(query: string, params: Readonly<Record<string, unknown>> = {}) {
      const request = pool.request()
      for (const [name, value] of Object.entries(params)) {
        if (typeof value === 'string') request.input(name, sql.NVarChar, value)
        else request.input(name, value)
      }
      return (await request.query<T>(query)).recordset
    },
    close: () => pool.close(),
  }
}
