import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { BackupError, Meter, type StreamFacts } from '@taskflow-backup/core'

/** Counts and hashes what passes, here or elsewhere. */
export interface MemberMeter {
  /** A piece may not change before what this returns has resolved. */
  update(piece: Uint8Array): Promise<void> | void
  facts(): Promise<StreamFacts> | StreamFacts
}

/** Below this a thread takes longer to start than to hash. */
const WORTH_BYTES = 64 * 1024 * 1024

// Text, so that it needs no file of its own in the built package.
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
 * What meters a member of about `bytes` bytes. Hashing takes longer than everything else that is done with a byte, so a
 * long member has it done in a thread of its own, where there is a second processor for it.
 */
export const memberMeter = (bytes: number): MemberMeter & { close?(): void } =>
  bytes < WORTH_BYTES || availableParallelism() === 1 ? new Meter() : new HashThread()

/** A meter that hashes in a thread of its own: pieces of shared memory as they are, others as copies. */
export class HashThread implements MemberMeter {
  readonly #thread = new Worker(PROGRAM, { eval: true, name: 'taskflow-backup hash', execArgv: [] })
  readonly #waiting: { resolve: (answer: string) => void; reject: (error: unknown) => void }[] = []
  #bytes = 0
  #failure: unknown

  constructor() {
    this.#thread.on('message', (answer: string) => this.#waiting.shift()?.resolve(answer))
    this.#thread.on('error', (error) => this.#fail(error))
    this.#thread.on('exit', () => this.#fail(new BackupError('INTERNAL', 'The thread that hashes has ended.')))
  }

  async update(piece: Uint8Array): Promise<void> {
    this.#bytes += piece.length
    await this.#ask(piece)
  }

  /** Length and hash of all that passed. Call once. */
  async facts(): Promise<StreamFacts> {
    return { bytes: this.#bytes, sha256: await this.#ask(undefined) }
  }

  close(): void {
    void this.#thread.terminate()
  }

  #ask(piece: Uint8Array | undefined): Promise<string> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure)
      this.#waiting.push({ resolve, reject })
      this.#thread.postMessage(piece)
    })
  }

  #fail(error: unknown): void {
    this.#failure ??= error
    for (const { reject } of this.#waiting.splice(0)) reject(this.#failure)
  }
}
