import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { createSecureContext, TLSSocket } from 'node:tls'
import { MESSAGE, MessageReader, packets } from './framing.ts'

export interface Certificate {
  readonly key: string
  readonly cert: string
}

const PACKET_SIZE = 4096

/**
 * TLS as TDS 7.4 has it: the handshake travels inside PRELOGIN packets, everything after it is plain TLS on the socket.
 * Takes the socket over; what it returns is the stream of clear bytes.
 */
export function secure(socket: Socket, certificate: Certificate): TLSSocket {
  const wire = new HandshakeWire(socket)
  return new TLSSocket(wire, {
    isServer: true,
    // With 1.3 the server still talks after its handshake, when the client no longer expects packets around it.
    secureContext: createSecureContext({ ...certificate, maxVersion: 'TLSv1.2' }),
  })
}

class HandshakeWire extends Duplex {
  readonly #socket: Socket
  readonly #reader = new MessageReader()
  /** What goes out together: clients expect one message per flight. Undefined once the handshake is over. */
  #flight: Buffer[] | undefined = []

  constructor(socket: Socket) {
    super()
    this.#socket = socket
    socket.on('data', (bytes: Buffer) => this.#received(bytes))
    socket.once('end', () => this.push(null))
    socket.once('close', () => this.destroy())
    socket.on('error', () => this.destroy())
  }

  override _read(): void {
    this.#socket.resume()
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (!this.#flight) {
      if (this.#socket.write(bytes)) done()
      else this.#socket.once('drain', done)
      return
    }
    if (!this.#flight.length) setImmediate(() => this.#flush())
    this.#flight.push(bytes)
    done()
  }

  override _final(done: () => void): void {
    this.#flush()
    this.#socket.end()
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket.destroy()
    done(error)
  }

  #flush(): void {
    if (!this.#flight?.length) return
    this.#socket.write(packets(MESSAGE.prelogin, Buffer.concat(this.#flight), true, PACKET_SIZE))
    this.#flight = []
  }

  #received(bytes: Buffer): void {
    // A client leaves the packets away once it has the last flight of the handshake.
    if (bytes[0] !== MESSAGE.prelogin && this.#reader.isBetween) this.#flight = undefined
    if (!this.#flight) {
      if (!this.push(bytes)) this.#socket.pause()
      return
    }
    try {
      for (const { payload } of this.#reader.push(bytes)) this.push(payload)
    } catch (error) {
      this.destroy(error as Error)
    }
  }
}
