import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { MESSAGE, type Message, MessageReader, packets } from './framing.ts'
import { askedEncryption, ENCRYPTION, parseLogin, preloginAnswer } from './login.ts'
import { type Outlet, Reply, type RequestKind } from './reply.ts'
import { type Parameter, parseRpc, SP_EXECUTESQL } from './rpc.ts'
import type { TdsHandler, TdsOptions } from './server.ts'
import { secure } from './tls.ts'
import { DONE, doneToken, environment, loginAckToken, messageToken } from './tokens.ts'

const FIRST_PACKET_SIZE = 4096
const BEGIN = 5
const COMMIT = 7

/** One client: its messages in, its responses out, one request at a time. */
export class TdsConnection implements Outlet {
  readonly id: number
  user = ''
  application = ''
  database = 'master'
  inTransaction = false
  readonly #handler: TdsHandler
  readonly #options: TdsOptions
  readonly #socket: Socket
  #stream: Duplex
  #reader = new MessageReader()
  #packetSize = FIRST_PACKET_SIZE
  #loggedIn = false
  #transactions = 0n
  #loginDatabase = 'master'
  /** Goes before the next response: the session is as new. */
  #resetAnswer: Buffer | undefined
  #running: { readonly ended: Promise<void>; readonly abort: () => void } | undefined

  constructor(socket: Socket, id: number, handler: TdsHandler, options: TdsOptions) {
    this.id = id
    this.#handler = handler
    this.#options = options
    this.#socket = socket
    this.#stream = socket
    socket.on('error', () => {})
    socket.once('close', () => {
      this.#running?.abort()
      if (this.#loggedIn) handler.closed?.(this)
    })
    socket.on('data', this.#received)
  }

  get serverName(): string {
    return this.#handler.name
  }

  /** Ends the connection without a word. */
  drop(): void {
    this.#stream.destroy()
    this.#socket.destroy()
  }

  /** Answers INFO 5701 and the new context; used at login and by USE. */
  enter(database: string): Buffer {
    const before = this.database
    this.database = database
    const told = { number: 5701, message: `Changed database context to '${database}'.`, class: 0, state: 2 }
    return Buffer.concat([environment.database(database, before), messageToken(told, this.serverName)])
  }

  send(token: Buffer, last: boolean): void {
    if (this.#stream.destroyed || this.#stream.writableEnded) return
    this.#stream.write(packets(MESSAGE.response, token, last, this.#packetSize, this.id))
  }

  readonly #received = (bytes: Buffer): void => {
    try {
      for (const message of this.#reader.push(bytes)) this.#take(message)
    } catch (error) {
      this.#options.onProtocolError?.(error as Error)
      this.drop()
    }
  }

  #take({ type, payload, reset }: Message): void {
    if (reset) this.#reset()
    if (type === MESSAGE.prelogin) this.#prelogin(payload)
    else if (type === MESSAGE.login7) this.#login(payload)
    else if (!this.#loggedIn) throw new Error('a request before login')
    else if (type === MESSAGE.attention) void this.#attention()
    else if (this.#running) throw new Error('a request while another one runs')
    else if (type === MESSAGE.transaction) this.#transaction(payload)
    else if (type === MESSAGE.batch) this.#run('batch', payload.toString('utf16le', payload.readUInt32LE(0)), [])
    else if (type === MESSAGE.rpc) this.#call(payload)
    else throw new Error(`a message of type 0x${type.toString(16)} is not known`)
  }

  #call(payload: Buffer): void {
    const { procedure, parameters } = parseRpc(payload)
    const isQuery = procedure === SP_EXECUTESQL || procedure === 'sp_executesql'
    if (isQuery) this.#run('query', String(parameters[0]?.value), parameters.slice(2))
    else this.#run('procedure', String(procedure), parameters)
  }

  #prelogin(payload: Buffer): void {
    const { version } = this.#handler
    const { tls } = this.#options
    const asked = askedEncryption(payload)
    const said = !tls ? ENCRYPTION.notSupported : asked === ENCRYPTION.on ? ENCRYPTION.on : ENCRYPTION.required
    this.send(preloginAnswer(version, said), true)
    if (!tls || asked === ENCRYPTION.notSupported) return
    this.#socket.off('data', this.#received)
    const clear = secure(this.#socket, tls)
    clear.on('error', (error) => {
      this.#options.onProtocolError?.(error)
      this.drop()
    })
    clear.on('data', this.#received)
    this.#stream = clear
  }

  #login(payload: Buffer): void {
    const login = parseLogin(payload)
    const { version } = this.#handler
    this.user = login.user
    this.application = login.application
    const unsafe = this.#options.tls && this.#stream === this.#socket
    const refusal = unsafe ? [ENCRYPTION_NEEDED] : this.#handler.login(login, this)
    if (refusal) {
      const said = refusal.map((one) => messageToken(one, this.serverName))
      this.send(Buffer.concat([...said, doneToken('batch', DONE.error)]), true)
      this.#stream.end()
      return
    }
    this.#loggedIn = true
    this.#loginDatabase = login.database || 'master'
    const size = Math.min(Math.max(login.packetSize || FIRST_PACKET_SIZE, 512), 32_767)
    const tokens = [
      this.enter(this.#loginDatabase),
      environment.collation(),
      loginAckToken(version),
      environment.packetSize(size, FIRST_PACKET_SIZE),
      doneToken('batch', DONE.final),
    ]
    this.send(Buffer.concat(tokens), true)
    this.#packetSize = size
  }

  #run(kind: RequestKind, text: string, parameters: readonly Parameter[]): void {
    const controller = new AbortController()
    const reply = new Reply(this, kind)
    if (this.#resetAnswer) reply.environment(this.#resetAnswer)
    this.#resetAnswer = undefined
    const abort = (): void => {
      reply.mute()
      controller.abort()
    }
    const ended = this.#handler
      .request({ kind, text, parameters, signal: controller.signal }, reply, this)
      .catch((error: unknown) => {
        reply.say({ number: 50_000, message: `fake server: ${String(error)}`, class: 16 })
      })
      .then(() => {
        this.#running = undefined
        reply.end()
      })
    this.#running = { ended, abort }
  }

  /** The response under way ends; then the attention is answered, in a message of its own. */
  async #attention(): Promise<void> {
    this.#running?.abort()
    await this.#running?.ended
    this.send(doneToken('batch', DONE.attention), true)
  }

  #transaction(payload: Buffer): void {
    const request = payload.readUInt16LE(payload.readUInt32LE(0))
    this.inTransaction = request === BEGIN
    if (request === BEGIN) this.#transactions++
    const changed = request === BEGIN ? 'begun' : request === COMMIT ? 'committed' : 'rolledBack'
    const tokens = [environment[changed](this.#transactions), doneToken('batch', DONE.final)]
    this.send(Buffer.concat(tokens), true)
  }

  #reset(): void {
    this.inTransaction = false
    this.#handler.reset?.(this)
    this.#resetAnswer = Buffer.concat([environment.reset(), this.enter(this.#loginDatabase)])
  }
}

const ENCRYPTION_NEEDED = { number: 17_830, message: 'Encryption is required to connect to this server.', class: 20 }
