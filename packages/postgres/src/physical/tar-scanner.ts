import { BackupError } from '@taskflow-backup/core'

const BLOCK = 512
const ZEROS = Buffer.alloc(BLOCK)

/** What the header of an entry says. */
export interface TarEntry {
  readonly name: string
  readonly sizeBytes: number
  readonly type: 'file' | 'folder' | 'link'
}

/** What a {@link TarScanner} tells. */
export interface TarEvents {
  readonly onEntry: (entry: TarEntry) => void
  /** A piece of the content of the entry that was told last; not copied. */
  readonly onContent?: (piece: Uint8Array) => void
  readonly onEntryEnd?: () => void
}

/**
 * Reads a tar as PostgreSQL writes them (ustar, no extensions) while it passes, in pieces of any size. Holds one block.
 * Every flaw of the structure throws.
 */
export class TarScanner {
  readonly #what: string
  readonly #events: TarEvents
  readonly #block = Buffer.alloc(BLOCK)
  #filled = 0
  #contentLeft = 0
  #paddingLeft = 0
  #zeroBlocks = 0
  #entries = 0

  /** `what` names the tar in errors. */
  constructor(what: string, events: TarEvents) {
    this.#what = what
    this.#events = events
  }

  get entries(): number {
    return this.#entries
  }

  /** @throws `MEMBER_DAMAGED` */
  update(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.#contentLeft > 0) at = this.#content(bytes, at)
      else if (this.#paddingLeft > 0) at = this.#padding(bytes, at)
      else at = this.#header(bytes, at)
    }
  }

  /**
   * Says that nothing more comes.
   *
   * @throws `MEMBER_DAMAGED` for a tar without its proper end
   */
  end(): void {
    if (this.#filled > 0 || this.#contentLeft > 0 || this.#paddingLeft > 0 || this.#zeroBlocks < 2)
      throw this.#damaged('it ends too early')
  }

  #content(bytes: Uint8Array, at: number): number {
    const end = Math.min(bytes.length, at + this.#contentLeft)
    this.#events.onContent?.(bytes.subarray(at, end))
    this.#contentLeft -= end - at
    if (this.#contentLeft === 0) this.#events.onEntryEnd?.()
    return end
  }

  #padding(bytes: Uint8Array, at: number): number {
    const end = Math.min(bytes.length, at + this.#paddingLeft)
    this.#paddingLeft -= end - at
    return end
  }

  #header(bytes: Uint8Array, at: number): number {
    const end = Math.min(bytes.length, at + BLOCK - this.#filled)
    this.#block.set(bytes.subarray(at, end), this.#filled)
    this.#filled += end - at
    if (this.#filled < BLOCK) return end
    this.#filled = 0
    if (this.#block.equals(ZEROS)) {
      this.#zeroBlocks++
      return end
    }
    if (this.#zeroBlocks > 0) throw this.#damaged('something follows on its end')
    const entry = this.#parse()
    this.#entries++
    this.#events.onEntry(entry)
    this.#contentLeft = entry.sizeBytes
    this.#paddingLeft = (BLOCK - (entry.sizeBytes % BLOCK)) % BLOCK
    if (entry.sizeBytes === 0) this.#events.onEntryEnd?.()
    return end
  }

  #parse(): TarEntry {
    const block = this.#block
    let sum = 8 * 0x20 // the field of the sum itself counts as spaces
    for (let at = 0; at < BLOCK; at++) if (at < 148 || at >= 156) sum += block[at] as number
    if (sum !== this.#number(148, 8)) throw this.#damaged('the checksum of an entry is wrong')
    const name = textOf(block, 0, 100)
    const prefix = textOf(block, 345, 155)
    const type = TYPES[block[156] as number]
    if (!type || name === '') throw this.#damaged(`it has an entry of an unknown type (${block[156]})`)
    const sizeBytes = this.#number(124, 12)
    return { name: prefix === '' ? name : `${prefix}/${name}`, sizeBytes: type === 'file' ? sizeBytes : 0, type }
  }

  /** Octal digits, or a big-endian number behind a first byte of 0x80. */
  #number(at: number, length: number): number {
    if (this.#block[at] === 0x80) {
      const value = BigInt(`0x${this.#block.toString('hex', at + 1, at + length)}`)
      if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.#damaged('an entry is absurdly large')
      return Number(value)
    }
    const text = textOf(this.#block, at, length).trim()
    if (!/^[0-7]*$/.test(text)) throw this.#damaged('a number in the header of an entry is none')
    return Number.parseInt(text || '0', 8)
  }

  #damaged(why: string): BackupError {
    return new BackupError('MEMBER_DAMAGED', `${this.#what} is no whole tar: ${why} (after ${this.#entries} entries).`)
  }
}

const TYPES: { readonly [flag: number]: TarEntry['type'] } = {
  0: 'file',
  48: 'file',
  50: 'link',
  53: 'folder',
}

function textOf(block: Buffer, at: number, length: number): string {
  const zero = block.indexOf(0, at)
  // Names of files are bytes; latin1 keeps every one of them apart.
  return block.toString('latin1', at, zero === -1 || zero > at + length ? at + length : zero)
}
