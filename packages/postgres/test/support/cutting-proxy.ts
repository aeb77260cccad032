import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** Stands between a client and a server, counts what the server sends, and strikes after so many bytes. */
export class CuttingProxy {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #strikeAt = Number.POSITIVE_INFINITY
  #onStrike: () => void = () => {}
  #flip = false
  #bytes = 0
  #strikes = 0

  private constructor(server: Server) {
    this.#server = server
  }

  static async start(port: number): Promise<CuttingProxy> {
    const server = createServer()
    const proxy = new CuttingProxy(server)
    server.on('connection', (client) => proxy.#join(client, connect(port, '127.0.0.1')))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return proxy
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Bytes that the server sent since {@link arm}. */
  get bytes(): number {
    return this.#bytes
  }

  get strikes(): number {
    return this.#strikes
  }

  /** Strikes once, when the server has sent `bytes` from now on; without `onStrike` by cutting every connection there. */
  arm(bytes: number, onStrike: () => void = () => this.cut()): void {
    this.#bytes = 0
    this.#strikes = 0
    this.#strikeAt = bytes
    this.#onStrike = onStrike
  }

  /** Changes one bit of the byte at this place instead. */
  flipAt(byte: number): void {
    this.arm(byte, () => {})
    this.#flip = true
  }

  /** Resets every connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  async stop(): Promise<void> {
    this.#server.close()
    this.cut()
    await once(this.#server, 'close')
  }

  #join(client: Socket, server: Socket): void {
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(from)
      from.on('error', () => {})
      from.on('close', () => {
        this.#sockets.delete(from)
        to.destroy()
      })
    }
    client.pipe(server)
    server.on('data', (chunk) => {
      const left = this.#strikeAt - this.#bytes
      this.#bytes += chunk.length
      // Up to the very byte.
      if (chunk.length < left) {
        if (!client.write(chunk)) server.pause()
        return
      }
      this.#strikeAt = Number.POSITIVE_INFINITY
      this.#strikes++
      if (this.#flip) chunk[left - 1] = (chunk[left - 1] as number) ^ 1
      client.write(chunk.subarray(0, left))
      this.#onStrike()
      if (!client.destroyed) client.write(chunk.subarray(left))
    })
    client.on('drain', () => server.resume())
  }
}
