import { createHash } from 'node:crypto'
import { BackupError } from '@taskflow-backup/core'
import type { ChecksumAlgorithm } from './file-checksum.ts'

/** A file as the server's backup_manifest describes it. */
export interface ManifestFile {
  /** Path below the data directory, each byte one character (latin1). */
  readonly path: string
  readonly sizeBytes: number
  readonly algorithm: ChecksumAlgorithm
  /** Lower-case hex digits. */
  readonly checksum: string
}

/** Write-ahead log that a backup needs to become consistent. */
export interface WalRange {
  readonly timeline: number
  readonly startLsn: string
  readonly endLsn: string
}

/** What else the manifest says. */
export interface ManifestFacts {
  readonly files: number
  /** Sum over all files, in bytes. */
  readonly fileBytes: number
  readonly walRanges: readonly WalRange[]
  /** Only from PostgreSQL 17 on. */
  readonly systemIdentifier?: string
}

const LAST_LINE = /^"Manifest-Checksum": "([0-9a-f]{64})"\}$/
const MOST_LINE_BYTES = 64 * 1024

/** How long a checksum is, in hex digits. */
const CHECKSUM_DIGITS: Readonly<Record<ChecksumAlgorithm, number>> = { CRC32C: 8, SHA256: 64 }

/**
 * Reads a backup_manifest while it passes, in pieces of any size: one line for each file, the last with the SHA-256 of
 * all lines before. Holds one line. Every flaw throws.
 */
export class ManifestScanner {
  readonly #what: string
  readonly #onFile: (file: ManifestFile) => void
  readonly #hash = createHash('sha256')
  readonly #walRanges: WalRange[] = []
  #rest = Buffer.alloc(0)
  #part: 'begin' | 'files' | 'ranges' | 'end' = 'begin'
  #files = 0
  #fileBytes = 0
  #systemIdentifier: string | undefined

  /** `what` names the manifest in errors. */
  constructor(what: string, onFile: (file: ManifestFile) => void = () => {}) {
    this.#what = what
    this.#onFile = onFile
  }

  /** @throws `MEMBER_DAMAGED` */
  update(bytes: Uint8Array): void {
    const all = this.#rest.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#rest, bytes])
    let at = 0
    for (let end = all.indexOf(10); end !== -1; end = all.indexOf(10, at)) {
      this.#line(all.subarray(at, end + 1))
      at = end + 1
    }
    this.#rest = Buffer.from(all.subarray(at))
    if (this.#rest.length > MOST_LINE_BYTES) throw this.#damaged('a line has no end')
  }

  /** @throws `MEMBER_DAMAGED` for a manifest without its proper end */
  end(): ManifestFacts {
    if (this.#rest.length > 0 || this.#part !== 'end') throw this.#damaged('it ends too early')
    return {
      files: this.#files,
      fileBytes: this.#fileBytes,
      walRanges: this.#walRanges,
      ...(this.#systemIdentifier !== undefined && { systemIdentifier: this.#systemIdentifier }),
    }
  }

  #line(line: Buffer): void {
    if (this.#part === 'end') throw this.#damaged('something follows on its end')
    const text = line.toString('utf8', 0, line.length - 1)
    const last = LAST_LINE.exec(text)
    if (last) {
      if (this.#part !== 'ranges' || this.#hash.digest('hex') !== last[1])
        throw this.#damaged('its own checksum is wrong')
      this.#part = 'end'
      return
    }
    this.#hash.update(line)
    if (this.#part === 'files' && text.startsWith('{')) this.#file(text)
    else if (this.#part === 'ranges' && text.startsWith('{')) this.#range(text)
    else this.#frame(text)
  }

  #frame(text: string): void {
    const identifier = /^"System-Identifier": (\d+),$/.exec(text)
    if (text === '"Files": [' && this.#part === 'begin') this.#part = 'files'
    else if (text === '"WAL-Ranges": [' && this.#part === 'files') this.#part = 'ranges'
    else if (identifier && this.#part === 'begin') this.#systemIdentifier = identifier[1]
    else if (text !== '],' && !/^\{ "PostgreSQL-Backup-Manifest-Version": [12],$/.test(text))
      throw this.#damaged(`it has a line that cannot be: ${JSON.stringify(text.slice(0, 80))}`)
  }

  #file(text: string): void {
    const entry = this.#parse(text)
    const { Size: sizeBytes, Checksum: checksum, 'Checksum-Algorithm': algorithm } = entry
    const encoded = entry['Encoded-Path']
    const path =
      typeof encoded === 'string'
        ? Buffer.from(encoded, 'hex').toString('latin1')
        : Buffer.from(String(entry.Path ?? '')).toString('latin1')
    if (path === '' || !isSize(sizeBytes) || !isAlgorithm(algorithm) || !isChecksum(checksum, algorithm))
      throw this.#damaged(`it describes a file badly: ${JSON.stringify(text.slice(0, 80))}`)
    this.#files++
    this.#fileBytes += sizeBytes
    this.#onFile({ path, sizeBytes, algorithm, checksum })
  }

  #range(text: string): void {
    const { Timeline: timeline, 'Start-LSN': startLsn, 'End-LSN': endLsn } = this.#parse(text)
    if (typeof timeline !== 'number' || typeof startLsn !== 'string' || typeof endLsn !== 'string')
      throw this.#damaged('it describes a range of the write-ahead log badly')
    this.#walRanges.push({ timeline, startLsn, endLsn })
  }

  #parse(text: string): { readonly [name: string]: unknown } {
    try {
      return JSON.parse(text.endsWith(',') ? text.slice(0, -1) : text)
    } catch {
      throw this.#damaged(`it has a line that is no JSON: ${JSON.stringify(text.slice(0, 80))}`)
    }
  }

  #damaged(why: string): BackupError {
    return new BackupError('MEMBER_DAMAGED', `${this.#what} is no whole manifest: ${why} (after ${this.#files} files).`)
  }
}

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

const isAlgorithm = (value: unknown): value is ChecksumAlgorithm =>
  typeof value === 'string' && Object.hasOwn(CHECKSUM_DIGITS, value)

const isChecksum = (value: unknown, algorithm: ChecksumAlgorithm): value is string =>
  typeof value === 'string' && value.length === CHECKSUM_DIGITS[algorithm] && /^[0-9a-f]+$/.test(value)
