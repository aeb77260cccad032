import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { StreamFacts } from '../contracts/backup.ts'
import { BackupError } from '../errors.ts'
import { copyToShared } from './copy-shared.ts'
import { Meter } from './meter.ts'

// SHA-256 without the processor's own instructions for it costs more than all else that is done with a byte. A thread of
// its own hashes what passes, out of memory that both threads see, while the other one goes on with the same bytes.

/** Shorter members are hashed before a thread would have started. */
const WORTH_BYTES = 16 * 1024 * 1024
/** Small enough that what is copied for the thread is still in the processor's cache for whoever takes it next. */
const PIECE_BYTES = 128 * 1024
const SLAB_BYTES = 1024 * 1024
/** As far as the thread may be behind with copies. */
const SLABS = 4

// Text, so that it is the same wherever a bundler puts this file.
const PROGRAM = `
const { createHash } = require('node:crypto')
const { parentPort } = require('node:worker_threads')
const hash = createHash('sha256')
parentPort.on('message', (piece) => {
  if (piece) hash.update(piece)
  parentPort.postMessage(piece ? '' : hash.digest('hex'))
})
`

/**
 * For children of adapters: what meters a member of about `bytes` bytes, in a thread of its own where that pays. Call
 * its `end` in every case.
 */
export function meterFor(bytes: number): Meter | ThreadMeter {
  return (bytes >= WORTH_BYTES && availableParallelism() > 1 && ThreadMeter.start()) || new Meter()
}

/** A {@link Meter} that hashes in a thread of its own: shared memory where it is, other memory as copies. */
export class ThreadMeter {
  readonly #thread: Worker
  readonly #waiting: { resolve: (answer: string) => void; reject: (error: unknown) => void }[] = []
  readonly #free: Buffer[] = []
  /** Slabs that are being hashed, in their order. */
  readonly #busy: Promise<string>[] = []
  #slab: Buffer | undefined
  #filled = 0
  #bytes = 0
  #failure: BackupError | undefined

  private constructor(thread: Worker) {
    this.#thread = thread
    thread.on('message', (answer: string) => this.#waiting.shift()?.resolve(answer))
    thread.on('error', (cause) => this.#fail(cause))
    thread.once('exit', () => this.#fail(undefined))
  }

  /** `undefined` where the process may start no threads. */
  static start(): ThreadMeter | undefined {
    try {
      // Loaders, inspectors and hooks of the application have nothing to do in there.
      return new ThreadMeter(new Worker(PROGRAM, { eval: true, name: 'taskflow-backup hash', env: {}, execArgv: [] }))
    } catch {
      return undefined // no permission (`--permission`), or no more threads
    }
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Takes bytes in. They may change when it has resolved; those that are not shared at once. */
  update(piece: Uint8Array): Promise<unknown> | undefined {
    this.#bytes += piece.length
    if (piece.buffer instanceof SharedArrayBuffer) {
      this.#flush()
      return this.#ask(piece)
    }
    const source = Buffer.from(piece.buffer, piece.byteOffset, piece.length)
    for (let at = 0; at < source.length; ) {
      this.#slab ??= this.#free.pop() ?? Buffer.from(new SharedArrayBuffer(SLAB_BYTES))
      const end = Math.min(source.length, at + SLAB_BYTES - this.#filled)
      copyToShared(this.#slab, this.#filled, source, at, end)
      this.#filled += end - at
      at = end
      if (this.#filled === SLAB_BYTES) this.#flush()
    }
    return this.#busy.length < SLABS ? undefined : this.#busy[0]
  }

  /** Hands on what `source` yields, in pieces of at most 128 KiB, each metered as it passes. */
  async *through(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
    for await (const whole of source) {
      for (let at = 0; at < whole.length; at += PIECE_BYTES) {
        const piece = whole.subarray(at, at + PIECE_BYTES)
        await this.update(piece)
        yield Buffer.from(piece.buffer, piece.byteOffset, piece.length)
      }
    }
  }

  /** Length and hash of all that passed. Call once. */
  async facts(): Promise<StreamFacts> {
    this.#flush()
    return { bytes: this.#bytes, sha256: await this.#ask(undefined) }
  }

  async end(): Promise<void> {
    await this.#thread.terminate()
  }

  #flush(): void {
    const slab = this.#slab
    if (!slab) return
    const hashed = this.#ask(slab.subarray(0, this.#filled))
    this.#busy.push(hashed)
    hashed.then(
      () => {
        void this.#busy.shift()
        this.#free.push(slab)
      },
      () => {}, // thrown by whatever is asked next
    )
    this.#slab = undefined
    this.#filled = 0
  }

  /** The thread answers in the order in which it is asked. */
  #ask(piece: Uint8Array | undefined): Promise<string> {
    return new Promise((resolve, reject) => {
      if (this.#failure) return reject(this.#failure)
      this.#waiting.push({ resolve, reject })
      this.#thread.postMessage(piece)
    })
  }

  #fail(cause: unknown): void {
    this.#failure ??= new BackupError('INTERNAL', 'The thread that hashes ended early.', { cause })
    for (const { reject } of this.#waiting.splice(0)) reject(this.#failure)
  }
}
