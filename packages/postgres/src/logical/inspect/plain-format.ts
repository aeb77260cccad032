import { DumpDamage } from './dump-reader.ts'

/** What `pg_dump` and `pg_dumpall` write first and last. */
const MARKS = {
  dump: ['-- PostgreSQL database dump\n', '-- PostgreSQL database dump complete\n'],
  globals: ['-- PostgreSQL database cluster dump\n', '-- PostgreSQL database cluster dump complete\n'],
} as const
const BEGIN = '--\n'
const EDGE_BYTES = 4096

/** After the last line there may be only the line that takes back a `\restrict` of the begin. */
const AFTER_END = /^--\n\s*(\\unrestrict \w+\s*)?$/

/**
 * Reads a dump in SQL to its end: it must begin and end with the lines with which the program begins and ends it.
 *
 * @throws {DumpDamage}
 */
export async function readPlainFormat(source: AsyncIterable<Buffer>, what: 'dump' | 'globals'): Promise<number> {
  const [first, last] = MARKS[what]
  let head = Buffer.alloc(0)
  let tail = Buffer.alloc(0)
  let bytes = 0
  for await (const piece of source) {
    if (head.length < EDGE_BYTES) head = Buffer.concat([head, piece.subarray(0, EDGE_BYTES)])
    tail = Buffer.concat([tail, piece.subarray(-EDGE_BYTES)]).subarray(-EDGE_BYTES)
    bytes += piece.length
  }
  if (!head.toString('latin1').startsWith(BEGIN + first + BEGIN))
    throw new DumpDamage(`It does not begin with "${first.trim()}".`)
  const end = tail.toString('latin1')
  const at = end.lastIndexOf(`\n${last}`)
  if (at < 0 || !AFTER_END.test(end.slice(at + 1 + last.length)))
    throw new DumpDamage(`It does not end with "${last.trim()}".`)
  return bytes
}
