import { Readable } from 'node:stream'
import { abortError, throwIfAborted } from '../errors.ts'
import { borrow } from '../pipeline/lent-body.ts'

/**
 * The pieces of a body that is being put; each may be gone when the next is asked for. An abort ends them even while the
 * body stands still; when they end, in whichever way, the body is destroyed.
 */
export async function* bodyPieces(
  body: Readable | Uint8Array,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  throwIfAborted(signal)
  if (body instanceof Uint8Array) return yield body
  const stop = (): void => void body.destroy(abortError(signal as AbortSignal))
  signal?.addEventListener('abort', stop, { once: true })
  try {
    for await (const piece of borrow(body)) {
      throwIfAborted(signal)
      yield piece instanceof Uint8Array ? piece : Buffer.from(piece as string)
    }
    throwIfAborted(signal)
  } finally {
    signal?.removeEventListener('abort', stop)
  }
}

/** Tells the source of a body that nobody reads it any more. */
export function release(body: Readable | Uint8Array): void {
  if (body instanceof Readable) body.destroy()
}
