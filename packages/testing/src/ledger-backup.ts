import { Readable } from 'node:stream'
import {
  type AdapterContext,
  abortError,
  BackupError,
  type BackupFacts,
  type BackupRequest,
  type Member,
} from '@taskflow-backup/core'
import { LIVE } from './ledger-databases.ts'
import { formatPosition, type LedgerEntry, type LedgerHeader, writeMember } from './ledger-format.ts'
import type { Written } from './ledger-logs.ts'

/** What goes into one backup: the entries after `begin`. */
export interface LedgerContent {
  readonly timeline: number
  readonly begin: number
  readonly entries: readonly LedgerEntry[]
  readonly consistentAt: Date
}

/** How members are written. */
export interface MemberSettings {
  readonly entriesPerMember: number
  /** Whether the last one fails in its middle. Default: no. */
  readonly fails?: boolean
}

/** The members of one backup of the live ledger, and its facts. */
export async function* writeBackup(
  request: BackupRequest,
  ctx: AdapterContext,
  { timeline, begin, entries, consistentAt }: LedgerContent,
  settings: MemberSettings,
): AsyncGenerator<Member, BackupFacts, void> {
  const from = formatPosition({ timeline, sequence: begin })
  const end = formatPosition({ timeline, sequence: begin + entries.length })
  yield* membersOf(request, ctx, { entries, begin: from, end }, settings)
  return {
    consistentAt,
    position: { ...(request.kind !== 'full' && { begin: from }), end },
    source: { name: LIVE, engineVersion: '1', details: { entries: begin + entries.length } },
    method: 'lines',
    notes: [],
  }
}

/** The members of a backup of `entries` between two positions. */
export function* membersOf(
  request: BackupRequest,
  ctx: AdapterContext,
  { entries, begin, end, moments }: Written,
  { entriesPerMember, fails = false }: MemberSettings,
): Generator<Member> {
  const parts = Math.max(1, Math.ceil(entries.length / entriesPerMember))
  for (let part = 1; part <= parts; part++) {
    const own = entries.slice((part - 1) * entriesPerMember, part * entriesPerMember)
    const header: LedgerHeader = {
      ledger: 1,
      part,
      parts,
      begin,
      end,
      count: own.length,
      ...(moments && { moments }),
    }
    const lines = untilAborted(writeMember(header, own), ctx, fails && part === parts ? 1 : undefined)
    yield { name: `${request.fileStem}.part-${part}.jsonl`, body: Readable.from(lines, { objectMode: false }) }
  }
}

/** Lines one by one; ends with an error when the work is aborted, or after `failAfter` lines. */
async function* untilAborted(lines: Iterable<Buffer>, ctx: AdapterContext, failAfter?: number): AsyncGenerator<Buffer> {
  let given = 0
  let bytes = 0
  for (const line of lines) {
    if (ctx.signal.aborted) throw abortError(ctx.signal)
    if (failAfter !== undefined && given++ === failAfter)
      throw new BackupError('SOURCE_UNREADABLE', 'The source failed on purpose.')
    yield line
    bytes += line.length
    ctx.onProgress({ bytes })
  }
}
