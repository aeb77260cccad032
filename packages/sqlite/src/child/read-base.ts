import { openSync } from 'node:fs'
import { BackupError } from '@taskflow-backup/core'
import type { BaseInput } from '../base-state.ts'
import { pagesOf, replay } from '../changes/commits.ts'
import { type ChangesIndex, type LogMark, readIndex, readPageHashesHeader } from '../changes/format.ts'
import { HASH_BYTES, PageTable, wordsOf } from '../changes/page-table.ts'
import { tooShort } from '../changes/piece-reader.ts'
import { readAt } from './wal.ts'

/** Where a differential or log backup begins. */
export interface Base {
  readonly table: PageTable
  /** Where the write-ahead log was, if that is known. */
  readonly mark?: LogMark
  readonly lastCommit: number
  /** Milliseconds since 1970. */
  readonly capturedAt: number
}

/**
 * Reads what `writeBase` wrote, and checks that it leads to the state that the newest manifest tells.
 *
 * @throws `BASE_UNUSABLE`
 */
export async function readBase(input: BaseInput): Promise<Base> {
  try {
    return await read(input)
  } catch (error) {
    if (!(error instanceof BackupError) || error.code !== 'MEMBER_DAMAGED') throw error
    throw new BackupError('BASE_UNUSABLE', `The page hashes of the chain cannot be read. ${error.message}`, {
      cause: error,
    })
  }
}

async function read({ file, state, lastCommit, capturedAt }: BaseInput): Promise<Base> {
  const fd = openSync(file, 'r') // no database: it may be closed whenever this process ends
  let position = 0
  const next = (bytes: number): Buffer => {
    const read = readAt(fd, bytes, position)
    position += read.length
    return read
  }
  const exactly = async (bytes: number): Promise<Buffer> => {
    const read = next(bytes)
    if (read.length < bytes) throw tooShort()
    return read
  }
  const header = await readPageHashesHeader(exactly)
  const table = PageTable.from(header.pageSize, await exactly(header.pageCount * HASH_BYTES))
  if (table.state !== header.state) throw otherState('the full', header.state, table.state)
  let at: { mark?: LogMark | undefined; commit: number } = { mark: header.mark, commit: 0 }
  while (next(1).length > 0) {
    position-- // only looked whether there is more
    at = replayLog(await readIndex(exactly), table, at)
  }
  if (at.commit !== lastCommit) {
    throw new BackupError('BASE_UNUSABLE', `The backups lead to commit ${at.commit} instead of ${lastCommit}.`)
  }
  if (state !== undefined && table.state !== state) throw otherState('the newest backup', state, table.state)
  return { table, ...(at.mark && { mark: at.mark }), lastCommit, capturedAt }
}

/** Logs may overlap: redoing what is done already changes nothing. */
function replayLog(
  index: ChangesIndex,
  table: PageTable,
  from: { mark?: LogMark | undefined; commit: number },
): { mark?: LogMark | undefined; commit: number } {
  const { pageSize, steps, hashes } = index
  if (pageSize !== table.pageSize)
    throw new BackupError('BASE_UNUSABLE', `A log has pages of ${pageSize} bytes, the full of ${table.pageSize}.`)
  const words = wordsOf(hashes)
  let at = from
  let first = 0
  for (const { firstCommit, lastCommit, commits, mark } of steps) {
    if (lastCommit >= at.commit) {
      if (firstCommit > at.commit + 1)
        throw new BackupError('BASE_UNUSABLE', `The commits ${at.commit + 1} to ${firstCommit - 1} are in no log.`)
      replay(table, index, words, { first, commits })
      at = { mark, commit: lastCommit }
    }
    first += pagesOf(commits)
  }
  return at
}

const otherState = (whose: string, expected: string, found: string): BackupError =>
  new BackupError('BASE_UNUSABLE', `The page hashes lead to the state ${found}, ${whose} tells ${expected}.`)
