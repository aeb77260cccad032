const SECTOR = 512
const WORDS = SECTOR / 4
/** What stands in a stream of data before its sectors. */
const PREFIX = 2
const littleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1

/**
 * The checksum that BACKUP … WITH CHECKSUM writes after a stream of data. SQL Server does not document it; this one is
 * right for every stream that was at hand of build 10.50, and is not known to hold for any other.
 */
export class SectorSum {
  readonly #partial = new Int32Array(WORDS)
  readonly #partialBytes = Buffer.from(this.#partial.buffer)
  #held = 0
  #prefix = PREFIX
  #state = 0

  update(bytes: Buffer): void {
    let at = Math.min(this.#prefix, bytes.length)
    this.#prefix -= at
    if (this.#held > 0) at += this.#hold(bytes, at)
    const sectors = Math.floor((bytes.length - at) / SECTOR)
    if (sectors > 0 && (bytes.byteOffset + at) % 4 === 0) {
      this.#state = fold(new Int32Array(bytes.buffer, bytes.byteOffset + at, sectors * WORDS), this.#state)
      at += sectors * SECTOR
    }
    while (at < bytes.length) at += this.#hold(bytes, at)
  }

  /** The sum, or `undefined` when what came is no stream of whole sectors. */
  digest(): number | undefined {
    if (this.#prefix > 0 || this.#held > 0 || !littleEndian) return undefined
    return this.#state >>> 0
  }

  #hold(bytes: Buffer, at: number): number {
    const taken = bytes.copy(this.#partialBytes, this.#held, at, at + SECTOR - this.#held)
    this.#held += taken
    if (this.#held === SECTOR) {
      this.#state = fold(this.#partial, this.#state)
      this.#held = 0
    }
    return taken
  }
}

function fold(words: Int32Array, before: number): number {
  let state = before
  for (let sector = 0; sector < words.length; sector += WORDS) {
    state = (state << 1) | (state >>> 31)
    const end = sector + WORDS
    for (let word = sector; word < end; word++) state ^= words[word] as number
  }
  return state
}
