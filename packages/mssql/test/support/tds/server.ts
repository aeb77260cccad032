import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { TdsConnection } from './connection.ts'
import type { Login } from './login.ts'
import type { Reply, RequestKind } from './reply.ts'
import type { Parameter } from './rpc.ts'
import type { Certificate } from './tls.ts'
import type { ServerMessage } from './tokens.ts'

export interface TdsRequest {
  /** `query` came through sp_executesql; of a `procedure` the text is its name. */
  readonly kind: RequestKind
  readonly text: string
  readonly parameters: readonly Parameter[]
  /** Aborted by an attention, and when the connection is gone. */
  readonly signal: AbortSignal
}

/** What one connection is to a handler. */
export type TdsSession = Pick<
  TdsConnection,
  'id' | 'user' | 'application' | 'database' | 'inTransaction' | 'drop' | 'enter'
>

/** The server behind the protocol. */
export interface TdsHandler {
  readonly name: string
  /** Major, minor, build. */
  readonly version: readonly [number, number, number]
  /** The errors that refuse a login, or nothing. */
  login(login: Login, session: TdsSession): readonly ServerMessage[] | undefined
  request(request: TdsRequest, reply: Reply, session: TdsSession): Promise<void>
  /** The session is to be as new (sp_reset_connection). */
  reset?(session: TdsSession): void
  /** The session is gone. */
  closed?(session: TdsSession): void
}

export interface TdsOptions {
  /** Clients must talk TLS. Without it no client can. */
  readonly tls?: Certificate
  /** Hears what was wrong with a client's bytes. Its connection is dropped. */
  readonly onProtocolError?: (error: Error) => void
}

export interface TdsServer {
  readonly port: number
  readonly sessions: readonly TdsSession[]
  /** Drops every connection and listens no more. */
  close(): Promise<void>
}

const FIRST_SESSION = 51

/** Listens for TDS 7.4 clients on a free port of 127.0.0.1. */
export async function startTdsServer(handler: TdsHandler, options: TdsOptions = {}): Promise<TdsServer> {
  const connections = new Set<TdsConnection>()
  let next = FIRST_SESSION
  const server = createServer({ noDelay: true }, (socket) => {
    const connection = new TdsConnection(socket, next++, handler, options)
    connections.add(connection)
    socket.once('close', () => connections.delete(connection))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    get sessions() {
      return [...connections]
    },
    async close() {
      const closed = once(server, 'close')
      server.close()
      for (const connection of connections) connection.drop()
      await closed
    },
  }
}
