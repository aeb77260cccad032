import { BackupError } from '@taskflow-backup/core'
import { MtfScanner } from '../../src/mtf/index.ts'
import type { MtfFile } from '../../src/mtf/types.ts'

/** Scans `file` as one piece, or in pieces of the given sizes over and over. */
export function scan(file: Buffer, pieces: readonly number[] = [file.length || 1]): MtfFile {
  const scanner = new MtfScanner('test.bak')
  for (let at = 0, piece = 0; at < file.length; piece++) {
    const end = Math.min(file.length, at + (pieces[piece % pieces.length] as number))
    scanner.update(file.subarray(at, end))
    at = end
  }
  return scanner.end()
}

/** The error that scanning ends in; `undefined` when it does not. Everything but a `BackupError` is thrown. */
export function scanError(file: Buffer, pieces?: readonly number[]): BackupError | undefined {
  try {
    scan(file, pieces)
    return undefined
  } catch (thrown) {
    if (thrown instanceof BackupError) return thrown
    throw thrown
  }
}

export interface Span {
  /** Type of a block or id of a stream. */
  readonly id: string
  readonly at: number
  /** Of the header. */
  readonly bytes: number
}

/** Every header of a sound file, found by another way than the reader's: one header after the other, over the whole of it. */
export function headersOf(file: Buffer): { blocks: Span[]; streams: Span[] } {
  const blocks: Span[] = []
  const streams: Span[] = []
  const markBytes = file.readUInt16LE(64) * 512
  let at = 0
  while (at < file.length) {
    const id = file.toString('latin1', at, at + 4)
    blocks.push({ id, at, bytes: 52 })
    if (id === 'SFMB') {
      at += markBytes
      continue
    }
    at += file.readUInt16LE(at + 8)
    for (let stream = ''; stream !== 'SPAD'; ) {
      stream = file.toString('latin1', at, at + 4)
      streams.push({ id: stream, at, bytes: 22 })
      at += 22 + Number(file.readBigUInt64LE(at + 8))
      at += -at & 3
    }
  }
  return { blocks, streams }
}
