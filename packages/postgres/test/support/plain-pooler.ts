import { once } from 'node:events'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'

const SOCKET = '.s.PGSQL.5432'
const REFUSAL = 'SFATAL\0C08P01\0Munsupported startup parameter: options\0\0'

/** Stands before a server as a pooler that refuses clients which set something while they connect, as PgBouncer does. */
export class PlainPooler {
  readonly #server: Server
  /** How many clients it refused. */
  refused = 0

  private constructor(server: Server) {
    this.#server = server
  }

  /** @param folder of its socket: the host to connect to */
  static async start(folder: string, behind: { readonly folder: string }): Promise<PlainPooler> {
    const server = createServer()
    const pooler = new PlainPooler(server)
    server.on('connection', (client) => {
      client.on('error', () => {})
      client.once('data', (startup: Buffer) => {
        if (startup.includes('\0options\0')) {
          pooler.refused++
          const head = Buffer.from([0x45, 0, 0, 0, 4 + REFUSAL.length])
          client.end(Buffer.concat([head, Buffer.from(REFUSAL)]))
          return
        }
        const upstream = connect(join(behind.folder, SOCKET))
        upstream.on('error', () => client.destroy())
        upstream.write(startup)
        client.pipe(upstream).pipe(client)
      })
    })
    server.listen(join(folder, SOCKET))
    await once(server, 'listening')
    return pooler
  }

  async stop(): Promise<void> {
    this.#server.close()
    await once(this.#server, 'close')
  }
}
