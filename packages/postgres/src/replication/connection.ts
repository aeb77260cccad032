import type { Socket } from 'node:net'
import { BackupError } from '@taskflow-backup/core'
import pg from 'pg'
import { type ConnectionSettings, toClientConfig } from '../connection.ts'
import { toConnectionError } from '../errors.ts'
import { CopySplitter } from './copy-splitter.ts'
import { openReusingSocket, type ReusingSocket } from './reusing-socket.ts'

/** The versions of `pg` whose untyped parts are as this module expects them. A test holds it to that. */
export const PG_MAJOR = 8

/** A silent connection is asked by the system whether it still lives after so long. */
const KEEP_ALIVE_MS = 10_000

/** One row of a result, as texts. */
export type ReplicationRow = { readonly [column: string]: string | null }

/** What a command that copies is told. What it throws breaks the connection and fails the command. */
export interface CopyHandler {
  /** See `SplitterEvents.onCopyData`. */
  readonly onCopyData?: (piece: Buffer, first: boolean, last: boolean) => void
  /** A row of a result, as it comes. */
  readonly onRow?: (row: ReplicationRow) => void
  /** The server waits for data. */
  readonly onCopyIn?: () => void
  /** The server sends no more data. */
  readonly onCopyDone?: () => void
}

// The parts of `pg` that its types leave out.
interface PgConnection {
  readonly stream: Socket
  query(text: string): void
  sendCopyFromChunk(chunk: Buffer): void
  endCopyFrom(): void
  sendCopyFail(reason: string): void
  on(event: 'copyDone', listener: () => void): void
}

interface PgCommand extends pg.Submittable {
  handleRowDescription(message: { fields: readonly { name: string }[] }): void
  handleDataRow(message: { fields: readonly (string | null)[] }): void
  handleCommandComplete(): void
  handleCopyInResponse(): void
  handleCopyData(): void
  handleEmptyQuery(): void
  handlePortalSuspended(): void
  handleError(error: unknown): void
  handleReadyForQuery(): void
}

/** A session for physical replication: commands of the walsender, and what they copy. */
export class ReplicationConnection {
  readonly #settings: ConnectionSettings
  readonly #client: pg.Client
  readonly #connection: PgConnection
  #copy: CopyHandler = {}
  /** Why we broke the connection; what the server says afterwards is a consequence. */
  #broken: unknown

  private constructor(settings: ConnectionSettings, client: pg.Client, reusing: ReusingSocket | undefined) {
    this.#settings = settings
    this.#client = client
    this.#connection = (client as unknown as { connection: PgConnection }).connection
    this.#takeOver(reusing)
  }

  /** @throws the codes of `toConnectionError` */
  static async connect(settings: ConnectionSettings): Promise<ReplicationConnection> {
    const reusing = settings.tls === false ? openReusingSocket() : undefined
    const config = {
      ...toClientConfig(settings),
      ...(reusing && { stream: () => reusing.socket }),
      keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
      replication: 'true',
    } as pg.ClientConfig
    const client = new pg.Client(config)
    client.on('error', () => {}) // a lost connection fails the command that runs, which is enough
    try {
      await client.connect()
      return new ReplicationConnection(settings, client, reusing)
    } catch (error) {
      await client.end().catch(() => {})
      throw toConnectionError(error, settings)
    }
  }

  /**
   * Puts a splitter of our own in front of pg's parser. That one keeps every piece of a message until it is whole, and
   * then hands out its own buffer, which it overwrites with the next.
   */
  #takeOver(reusing: ReusingSocket | undefined): void {
    const { stream } = this.#connection
    const listeners = stream.listeners('data') as ((chunk: Buffer) => void)[]
    const [toParser] = listeners
    if (!toParser || listeners.length !== 1)
      throw new BackupError('INTERNAL', `This version of pg reads its socket with ${listeners.length} listeners.`)
    stream.removeListener('data', toParser)
    const splitter = new CopySplitter({
      onCopyData: (piece, first, last) => this.#copy.onCopyData?.(piece, first, last),
      onMessage: (message) => toParser.call(stream, message),
    })
    const feed = (chunk: Buffer): void => {
      if (this.#broken !== undefined) return
      try {
        splitter.feed(chunk)
      } catch (error) {
        this.destroy(error)
      }
    }
    if (reusing) reusing.handOver(feed)
    else stream.on('data', feed)
    this.#connection.on('copyDone', () => this.#copy.onCopyDone?.())
  }

  /**
   * Runs one command of the replication grammar and gives the rows of each of its results. Settles when the server is
   * ready for the next command, so that a copy that was cut short never looks complete.
   *
   * @throws the codes of `toConnectionError`, and what a handler threw
   */
  async run(text: string, copy: CopyHandler = {}): Promise<ReplicationRow[][]> {
    if (this.#broken !== undefined) throw toConnectionError(this.#broken, this.#settings)
    this.#copy = copy
    try {
      return await new Promise((resolve, reject) => this.#client.query(this.#command(text, resolve, reject)))
    } catch (error) {
      throw toConnectionError(this.#broken ?? error, this.#settings)
    } finally {
      this.#copy = {}
    }
  }

  #command(text: string, resolve: (results: ReplicationRow[][]) => void, reject: (error: unknown) => void): PgCommand {
    const results: ReplicationRow[][] = []
    let columns: readonly string[] = []
    return {
      submit: (connection: unknown) => (connection as PgConnection).query(text),
      handleRowDescription({ fields }) {
        columns = fields.map(({ name }) => name)
        results.push([])
      },
      handleDataRow: ({ fields }) => {
        const row = Object.fromEntries(columns.map((name, index) => [name, fields[index] ?? null]))
        results.at(-1)?.push(row)
        this.#copy.onRow?.(row)
      },
      handleCommandComplete() {},
      handleCopyInResponse: () => {
        if (this.#copy.onCopyIn) this.#copy.onCopyIn()
        else this.#connection.sendCopyFail('there is nothing to copy')
      },
      handleCopyData() {}, // comes from the splitter
      handleEmptyQuery() {},
      handlePortalSuspended() {},
      handleError: reject,
      handleReadyForQuery: () => resolve(results),
    }
  }

  /** One row of a command that gives exactly one. */
  async row(text: string): Promise<ReplicationRow> {
    const [rows] = await this.run(text)
    const [row] = rows ?? []
    if (!row) throw new BackupError('SERVER_FAILED', `The server gave no answer to ${text}.`)
    return row
  }

  /** Sends data to a copying command; resolves when there is room for more. */
  async send(chunk: Buffer): Promise<void> {
    const { stream } = this.#connection
    this.#connection.sendCopyFromChunk(chunk) // its own result says nothing
    if (!stream.writableNeedDrain) return
    await new Promise<void>((resolve) => {
      const done = (): void => {
        stream.off('drain', done).off('close', done)
        resolve()
      }
      stream.on('drain', done).on('close', done)
    })
  }

  sendDone(): void {
    this.#connection.endCopyFrom()
  }

  sendFail(reason: string): void {
    this.#connection.sendCopyFail(reason)
  }

  /** Stops reading from the server, which then stops sending. */
  pause(): void {
    this.#connection.stream.pause()
  }

  resume(): void {
    this.#connection.stream.resume()
  }

  /** Breaks the connection at once; the command that runs fails with `reason`. */
  destroy(reason: unknown): void {
    this.#broken ??= reason
    this.#connection.stream.destroy()
  }

  /** Says goodbye to the server. Harmless on a connection that is gone. */
  async close(): Promise<void> {
    await this.#client.end().catch(() => {})
  }
}
