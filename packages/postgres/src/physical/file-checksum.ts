import { createHash } from 'node:crypto'
import { CRC32C_START, finishCrc32c, hasNativeCrc32c, updateCrc32c } from './crc32c.ts'

/** Those of the server's checksums of files that we ask for. */
export type ChecksumAlgorithm = 'CRC32C' | 'SHA256'

/** A checksum that grows while a file passes. */
export interface FileChecksum {
  update(bytes: Uint8Array): void
  /** As the server's manifest has it, in lower-case hex digits. Call once. */
  digest(): string
}

/** What to ask the server for: the one that costs it and us least. Without native code SHA-256 is the faster one. */
export const preferredAlgorithm = (): ChecksumAlgorithm => (hasNativeCrc32c() ? 'CRC32C' : 'SHA256')

export function fileChecksum(algorithm: ChecksumAlgorithm): FileChecksum {
  return algorithm === 'CRC32C' ? new Crc32cChecksum() : new Sha256Checksum()
}

class Crc32cChecksum implements FileChecksum {
  #state = CRC32C_START

  update(bytes: Uint8Array): void {
    this.#state = updateCrc32c(this.#state, bytes)
  }

  digest(): string {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(finishCrc32c(this.#state)) // the server prints its memory
    return bytes.toString('hex')
  }
}

class Sha256Checksum implements FileChecksum {
  readonly #hash = createHash('sha256')

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes)
  }

  digest(): string {
    return this.#hash.digest('hex')
  }
}
