import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { WriterLap } from './writer.ts'

/** The running writer. */
export interface Writer {
  /** Its figures since the last call. */
  lap(): Promise<WriterLap>
  /** Lets it finish its transaction and end. */
  stop(): Promise<void>
}

/** Starts `writer.ts` on a database and waits until it writes. */
export async function startWriter(file: string, signal: AbortSignal): Promise<Writer> {
  const child = fork(fileURLToPath(new URL('writer.ts', import.meta.url)), [file], { signal, killSignal: 'SIGKILL' })
  child.on('error', () => {}) // the abort; whoever waits for an answer is told below
  await answer(child, signal)
  return {
    async lap() {
      child.send('lap')
      return answer(child, signal)
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.send('stop', () => {})
      await ended
    },
  }
}

async function answer(child: ChildProcess, signal: AbortSignal): Promise<WriterLap> {
  const waiting = new AbortController()
  try {
    return await Promise.race([
      once(child, 'message', { signal: waiting.signal }).then(([lap]) => lap as WriterLap),
      once(child, 'exit', { signal: waiting.signal }).then(([code]) => {
        signal.throwIfAborted()
        throw new Error(`The writer ended with ${code}.`)
      }),
    ])
  } finally {
    waiting.abort()
  }
}
