import { setTimeout as sleep } from 'node:timers/promises'
import type { BackupEvent, Notifier } from '../contracts/events.ts'

/** A notifier that takes longer than this for one event is left behind: it must not hold a backup up for ever. */
const NOTIFY_MS = 30_000

/** Hands events to one notifier, one after another, beside the work. */
export class NotifierQueue {
  readonly #notify: Notifier
  readonly #onFailure: (message: string) => void
  readonly #limitMs: number
  #last: Promise<void> = Promise.resolve()

  constructor(notify: Notifier, onFailure: (message: string) => void, limitMs = NOTIFY_MS) {
    this.#notify = notify
    this.#onFailure = onFailure
    this.#limitMs = limitMs
  }

  add(event: BackupEvent): void {
    this.#last = this.#last.then(() => this.#tell(event))
  }

  /** Resolves when every event has been told, or could not be. */
  async settled(): Promise<void> {
    await this.#last
  }

  async #tell(event: BackupEvent): Promise<void> {
    const ended = new AbortController()
    try {
      await Promise.race([this.#notify(event), tooLong(this.#limitMs, ended.signal)])
    } catch (error) {
      this.#onFailure(`A notifier failed: ${error instanceof Error ? error.message : String(error)}`)
    } finally {
      ended.abort()
    }
  }
}

async function tooLong(limitMs: number, signal: AbortSignal): Promise<never> {
  await sleep(limitMs, undefined, { signal })
  throw new Error(`it did not end within ${limitMs / 1000} s`)
}
