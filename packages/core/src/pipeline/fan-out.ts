import type { Readable } from 'node:stream'
import { BackupError } from '../errors.ts'
import { LentBody } from './lent-body.ts'

/** One receiver of a stream: takes the whole body, or fails. */
export interface Sink {
  readonly name: string
  /** When true, its failure fails the whole stream; otherwise it is left out from there on. */
  readonly required: boolean
  readonly receive: (body: Readable) => Promise<unknown>
}

/** How one sink did. `error` is set when it failed. */
export interface SinkOutcome {
  readonly name: string
  readonly error?: unknown
}

/** Bytes that may wait for one sink that keeps what it gets, before the source has to wait for it. */
const WAITING_BYTES = 4 * 1024 * 1024

/**
 * Sends one stream to every sink at once, at the pace of the slowest. Asks `source` for the next piece when every sink is
 * done with the one before.
 *
 * Rejects with the source's error, or with that of the first required sink that failed; then every sink's body has
 * been destroyed with an error, and every sink has come to its end.
 */
export async function fanOut(source: AsyncIterable<Uint8Array>, sinks: readonly Sink[]): Promise<SinkOutcome[]> {
  const branches = sinks.map((sink) => startBranch(sink))
  try {
    for await (const piece of source) {
      await Promise.all(branches.map((branch) => branch.write(piece)))
      if (branches.every((branch) => branch.failed)) break
    }
    await Promise.all(branches.map((branch) => branch.end()))
  } catch (error) {
    await Promise.all(branches.map((branch) => branch.abort(error)))
    throw error
  }
  return branches.map((branch) => branch.outcome())
}

function startBranch(sink: Sink) {
  const handoff = new Handoff()
  const body = new LentBody(handoff.pieces(), WAITING_BYTES)
  body.on('error', () => {}) // told through `done`
  let failure: { error: unknown } | undefined
  const done = sink
    .receive(body)
    .then(
      () => {
        if (body.readableEnded || failure) return
        // Nobody reads on: what is given from here would never be taken.
        failure = {
          error: new BackupError(
            'CONTRACT_BROKEN',
            `${sink.name} took only a part of the stream and said that it took all.`,
          ),
        }
        body.destroy()
      },
      (error: unknown) => {
        failure = { error }
        body.destroy()
      },
    )
    .finally(() => handoff.close())
  const check = (): void => {
    if (failure && sink.required) throw failure.error
  }
  return {
    get failed() {
      return failure !== undefined
    },
    async write(piece: Uint8Array): Promise<void> {
      check()
      if (failure) return
      await handoff.give(piece)
      check()
    },
    async end(): Promise<void> {
      handoff.end()
      await done
      check()
    },
    async abort(error: unknown): Promise<void> {
      body.destroy(error instanceof Error ? error : new Error(String(error)))
      await done
    },
    outcome: (): SinkOutcome => ({ name: sink.name, ...(failure && { error: failure.error }) }),
  }
}

/** Hands pieces from one side to the other, one at a time. */
class Handoff {
  #piece: Uint8Array | undefined
  #isOver = false
  #isClosed = false
  /** Of the side that waits: never both do. */
  #wake = (): void => {}

  /** The side that takes. A piece is gone when the next one is asked for. */
  async *pieces(): AsyncGenerator<Uint8Array, void, void> {
    for (;;) {
      while (!this.#piece && !this.#isOver) await this.#change()
      if (!this.#piece) return
      yield this.#piece
      this.#piece = undefined
      this.#wake()
    }
  }

  /** Resolves when the other side is done with `piece`, or has closed. */
  async give(piece: Uint8Array): Promise<void> {
    this.#piece = piece
    this.#wake()
    while (this.#piece && !this.#isClosed) await this.#change()
  }

  /** No more is given. */
  end(): void {
    this.#isOver = true
    this.#wake()
  }

  /** No more is taken. */
  close(): void {
    this.#isClosed = true
    this.#wake()
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }
}
