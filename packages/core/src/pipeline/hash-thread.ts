import { Worker } from 'node:worker_threads'
import { BackupError } from '../errors.ts'

// SHA-256 without the processor's own instructions for it costs more than all else that is done with a byte. A thread of
// its own hashes what passes, out of memory that both threads see, while the other one goes on with the same bytes.

const SLAB_BYTES = 1024 * 1024
/** As far as the thread may be behind. */
const SLABS = 4

type Answer = { readonly free: number } | { readonly sha256: string }

// Text, so that it is the same wherever a bundler puts this file.
const PROGRAM = `
const { createHash } = require('node:crypto')
const { parentPort, workerData: slabs } = require('node:worker_threads')
const hash = createHash('sha256')
parentPort.on('message', ({ slab, bytes }) => {
  if (slab === undefined) return parentPort.postMessage({ sha256: hash.digest('hex') })
  hash.update(slabs[slab].subarray(0, bytes))
  parentPort.postMessage({ free: slab })
})
`

/** A SHA-256 that a thread of its own computes. Call {@link HashThread.end} in every case. */
export class HashThread {
  readonly #worker: Worker
  readonly #slabs: readonly Uint8Array[]
  readonly #free: number[]
  #filled = 0
  #sha256: string | undefined
  #failure: BackupError | undefined
  #wake: (() => void) | undefined

  private constructor(worker: Worker, slabs: readonly Uint8Array[]) {
    this.#worker = worker
    this.#slabs = slabs
    this.#free = [...slabs.keys()]
    worker.on('message', (answer: Answer) => {
      if ('free' in answer) this.#free.push(answer.free)
      else this.#sha256 = answer.sha256
      this.#wake?.()
    })
    worker.on('error', (cause) => this.#fail(cause))
    worker.once('exit', () => this.#fail(undefined))
  }

  /** `undefined` where the process may start no threads. */
  static start(): HashThread | undefined {
    const slabs = Array.from({ length: SLABS }, () => new Uint8Array(new SharedArrayBuffer(SLAB_BYTES)))
    try {
      // Loaders, inspectors and hooks of the application have nothing to do in there.
      const options = { eval: true, name: 'taskflow-backup hash', workerData: slabs, env: {}, execArgv: [] }
      return new HashThread(new Worker(PROGRAM, options), slabs)
    } catch {
      return undefined // no permission (`--permission`), or no more threads
    }
  }

  /** Takes bytes in; they may change when it has resolved. */
  async update(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      while (this.#free.length === 0) await this.#answer()
      const slab = this.#slabs[this.#free[0] as number] as Uint8Array
      const part = bytes.subarray(at, at + SLAB_BYTES - this.#filled)
      slab.set(part, this.#filled)
      this.#filled += part.length
      at += part.length
      if (this.#filled === SLAB_BYTES) this.#send()
    }
  }

  /** Of all that was taken in, in hex digits. Nothing can be taken in any more. */
  async digest(): Promise<string> {
    if (this.#filled > 0) this.#send()
    this.#worker.postMessage({})
    while (this.#sha256 === undefined) await this.#answer()
    return this.#sha256
  }

  async end(): Promise<void> {
    await this.#worker.terminate()
  }

  #send(): void {
    this.#worker.postMessage({ slab: this.#free.shift(), bytes: this.#filled })
    this.#filled = 0
  }

  #fail(cause: unknown): void {
    this.#failure ??= new BackupError('INTERNAL', 'The thread that hashes ended early.', { cause })
    this.#wake?.()
  }

  async #answer(): Promise<void> {
    if (this.#failure) throw this.#failure
    await new Promise<void>((resolve) => (this.#wake = resolve))
  }
}
