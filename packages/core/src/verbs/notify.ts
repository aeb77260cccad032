import { setTimeout as sleep } from 'node:timers/promises'
import type { BackupEvent, Notifier } from '../contracts/events.ts'

/** A notifier that takes longer than this for one event is left behind: it must not hold a backup up for ever. */
const NOTIFY_MS = 30_000

/** Hands events to one notifier, one after another, beside the work. */
export class NotifierQueue {
  readonly #notify: Notifier
  readonly #onFailure: (message: string) => void
  #last: Promise<void> = Promise.resolve()

  constructor(notify: Notifier, onFailure: (message: string) => void) {
    this.#notify = notify
    this.#onFailure = onFailure
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
      await Promise.race([this.#notify(event), tooLong(ended.signal)])
    } catch (error) {
      this.#onFailure(`A notifier failed: ${error instanceof Error ? error.message : String(error)}`)
    } finally {
      ended.abort()
    }
  }
}

async function tooLong(signal: AbortSignal): Promise<never> {
  await sleep(NOTIFY_MS, undefined, { signal })
  throw new Error(`it did not end within ${NOTIFY_MS / 1000} s`)
}
