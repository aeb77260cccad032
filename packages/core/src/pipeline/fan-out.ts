import { once } from 'node:events'
import { PassThrough, type Readable } from 'node:stream'
import { BackupError } from '../errors.ts'

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

/** Bytes that may wait for one sink before the source has to wait for it. */
const WAITING_BYTES = 4 * 1024 * 1024

/**
 * Sends one stream to every sink at once, at the pace of the slowest.
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
  const body = new PassThrough({ writableHighWaterMark: WAITING_BYTES, readableHighWaterMark: 64 * 1024 })
  body.on('error', () => {}) // told through `done`
  let failure: { error: unknown } | undefined
  const done = sink.receive(body).then(
    () => {
      if (body.readableEnded || failure) return
      // Nobody reads on: what is written from here would pile up in memory.
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
  const check = (): void => {
    if (failure && sink.required) throw failure.error
  }
  return {
    get failed() {
      return failure !== undefined
    },
    async write(piece: Uint8Array): Promise<void> {
      check()
      if (failure || body.write(piece)) return
      await Promise.race([once(body, 'drain').catch(() => {}), done])
      check()
    },
    async end(): Promise<void> {
      if (!failure) body.end()
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
