import { createHash } from 'node:crypto'
import { BackupError } from '@taskflow-backup/core'

/** One committed line of a ledger. */
export interface LedgerEntry {
  /** Counts from 1 without gaps. */
  readonly sequence: number
  /** When it was committed: ISO 8601, UTC, milliseconds. */
  readonly at: string
  readonly text: string
}

/** First line of a member. The entries follow, one a line; the last line is `{"sha256": …}` over all lines before. */
export interface LedgerHeader {
  readonly ledger: 1
  /** Of how many members this is which, from 1. */
  readonly part: number
  readonly parts: number
  /** The backup holds the entries after `begin`, up to and with `end`. */
  readonly begin: string
  readonly end: string
  /** Entries in this member. */
  readonly count: number
  /** In a log that was thinned: the only moments inside it that can be restored to, ISO 8601. */
  readonly moments?: readonly string[]
}

/** Writes one member: a line of JSON for the header, one for each entry, and one for the hash. */
export function* writeMember(header: LedgerHeader, entries: readonly LedgerEntry[]): Generator<Buffer> {
  const hash = createHash('sha256')
  for (const line of [header, ...entries]) {
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`)
    hash.update(bytes)
    yield bytes
  }
  yield Buffer.from(`${JSON.stringify({ sha256: hash.digest('hex') })}\n`)
}

/**
 * Reads one member back.
 *
 * @throws `MEMBER_DAMAGED` when a byte is not what was written
 */
export async function readMember(
  body: AsyncIterable<Uint8Array>,
): Promise<{ header: LedgerHeader; entries: LedgerEntry[] }> {
  const pieces: Uint8Array[] = []
  for await (const piece of body) pieces.push(piece)
  const bytes = Buffer.concat(pieces)
  const damaged = (why: string) => new BackupError('MEMBER_DAMAGED', `This is no member of a ledger: ${why}.`)
  const lastLine = bytes.lastIndexOf(10, bytes.length - 2) + 1
  const trailer = `${JSON.stringify({ sha256: createHash('sha256').update(bytes.subarray(0, lastLine)).digest('hex') })}\n`
  if (bytes.subarray(lastLine).toString() !== trailer) throw damaged('its hash is wrong')
  const lines = bytes.subarray(0, lastLine).toString().trimEnd().split('\n')
  const [header, ...entries] = lines.map((line) => JSON.parse(line)) as [LedgerHeader, ...LedgerEntry[]]
  if (header.ledger !== 1) throw damaged('its version is unknown')
  if (header.count !== entries.length) throw damaged(`it has ${entries.length} entries and should have ${header.count}`)
  return { header, entries }
}

/** Where in the history of a ledger something is. Each restore over the live ledger begins a new timeline. */
export interface LedgerPosition {
  readonly timeline: number
  readonly sequence: number
}

/** `<timeline>.<sequence>`. */
export const formatPosition = ({ timeline, sequence }: LedgerPosition): string => `${timeline}.${sequence}`

/** The opposite of {@link formatPosition}. */
export function parsePosition(text: string): LedgerPosition {
  const [timeline, sequence] = text.split('.').map(Number)
  return { timeline: timeline as number, sequence: sequence as number }
}
