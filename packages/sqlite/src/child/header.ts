// The 100-byte header of a database file: https://sqlite.org/fileformat2.html#the_database_header

export const HEADER_BYTES = 100
const MAGIC = Buffer.from('SQLite format 3\0', 'latin1')

export interface DatabaseHeader {
  readonly pageSize: number
  /** Pages as the header tells; `undefined` where an old SQLite wrote last and the field cannot be trusted. */
  readonly pageCount: number | undefined
  readonly changeCounter: number
  /** True when the file is in write-ahead-log mode. */
  readonly wal: boolean
}

/** Reads a header, or says in one sentence what is wrong with it. */
export function parseHeader(bytes: Buffer): DatabaseHeader | string {
  if (bytes.length < HEADER_BYTES) return `It has ${bytes.length} bytes; the smallest database has 512.`
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) return 'It does not begin with "SQLite format 3".'
  const stored = bytes.readUInt16BE(16)
  const pageSize = stored === 1 ? 65_536 : stored
  if (pageSize < 512 || (pageSize & (pageSize - 1)) !== 0)
    return `Its header tells an impossible page size: ${pageSize}.`
  const [write, read] = [bytes[18] as number, bytes[19] as number]
  if (read < 1 || read > 2 || write < 1 || write > 2) return `Its header tells an unknown format: ${write}/${read}.`
  const encoding = bytes.readUInt32BE(56)
  if (encoding > 3) return `Its header tells an unknown text encoding: ${encoding}.`
  const changeCounter = bytes.readUInt32BE(24)
  const counted = bytes.readUInt32BE(28)
  const trusted = counted > 0 && changeCounter === bytes.readUInt32BE(92)
  return { pageSize, pageCount: trusted ? counted : undefined, changeCounter, wal: read === 2 }
}
