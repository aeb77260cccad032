import { Readable } from 'node:stream'
import type { Member } from '@taskflow-backup/core'
import { type LedgerHeader, writeMember } from '../../src/index.ts'

/** A member of a ledger without an entry. */
export function emptyMember(name: string): Member {
  const header: LedgerHeader = { ledger: 1, part: 1, parts: 1, begin: '1.0', end: '1.0', count: 0 }
  return { name, body: Readable.from(writeMember(header, []), { objectMode: false }) }
}
