import { DONE, doneToken, messageToken, returnStatusToken, type ServerMessage } from './tokens.ts'
import { type Column, columnsToken, rowToken, type Value } from './types.ts'

export type RequestKind = 'batch' | 'query' | 'procedure'

/** Where the tokens of one response go. */
export interface Outlet {
  /** Sends at once; `last` ends the message. */
  send(token: Buffer, last: boolean): void
  readonly serverName: string
}

/** What a handler answers one request with. Every call goes out at once, so that progress is seen as it is made. */
export class Reply {
  readonly #outlet: Outlet
  readonly #kind: RequestKind
  #columns: readonly Column[] = []
  #failed = false
  #muted = false

  constructor(outlet: Outlet, kind: RequestKind) {
    this.#outlet = outlet
    this.#kind = kind
  }

  /** INFO or ERROR, by its class. */
  say(said: ServerMessage): void {
    if (said.class > 10) this.#failed = true
    this.#send(messageToken(said, this.#outlet.serverName))
  }

  /** Something that concerns the session, such as another database. */
  environment(token: Buffer): void {
    this.#send(token)
  }

  columns(columns: readonly Column[]): void {
    this.#columns = columns
    this.#send(columnsToken(columns))
  }

  row(values: readonly Value[]): void {
    this.#send(rowToken(this.#columns, values))
  }

  /** A whole result set. */
  rows(columns: readonly Column[], rows: readonly (readonly Value[])[]): void {
    this.columns(columns)
    for (const row of rows) this.row(row)
    this.done(rows.length)
  }

  /** The end of one statement. What ends the whole response is sent by `end`. */
  done(rows?: number): void {
    const failed = this.#failed ? DONE.error : 0
    this.#send(doneToken(this.#kind === 'batch' ? 'batch' : 'in-procedure', DONE.more | failed, rows))
  }

  /** From now on nothing goes out: the client has asked to stop. */
  mute(): void {
    this.#muted = true
  }

  /** The end of the response. */
  end(): void {
    const status = this.#failed || this.#muted ? DONE.error : DONE.final
    const last =
      this.#kind === 'batch' || this.#muted
        ? doneToken('batch', status)
        : Buffer.concat([returnStatusToken(this.#failed ? 1 : 0), doneToken('procedure', status)])
    this.#outlet.send(last, true)
  }

  #send(token: Buffer): void {
    if (!this.#muted) this.#outlet.send(token, false)
  }
}
