/** What passes is gathered into pieces of this size, which is what is compressed at a time. */
export const SLAB_BYTES = 2 * 1024 * 1024
/** About as many as are on their way at the same time. */
const MOST_KEPT = 8

/**
 * Buffers to be used again: V8 looks for the memory of large ones last, so that new ones would pile up. Shared, so that
 * a thread can hash what is in them.
 */
export class SlabPool {
  readonly #free: ArrayBufferLike[] = []

  /** A buffer of `SLAB_BYTES`, with anything in it. */
  take(): Buffer {
    return Buffer.from(this.#free.pop() ?? new SharedArrayBuffer(SLAB_BYTES))
  }

  /** Gives back the slab that `piece` is a part of. Nobody may look at it any more. */
  give(piece: Buffer): void {
    if (piece.buffer.byteLength === SLAB_BYTES && this.#free.length < MOST_KEPT) this.#free.push(piece.buffer)
  }
}
