import { BackupError } from '@taskflow-backup/core'
import type { Step } from '../changes/format.ts'
import type { ChangesFacts, Jobs } from '../jobs.ts'
import { ChangeStore } from './change-store.ts'
import { compareImage } from './compare.ts'
import { describeDatabase } from './describe.ts'
import { openImage } from './image.ts'
import { openSource } from './open-source.ts'
import { readBase } from './read-base.ts'

/**
 * Writes every page that differs from the chain's full to a file.
 *
 * @throws `BASE_UNUSABLE`, and what `openSource` and `openImage` throw
 */
export async function writeDifferential(
  { base, output, compression, skewMs, ...settings }: Jobs['differential']['input'],
  onProgress: (bytes: number, totalBytes: number) => void,
): Promise<ChangesFacts> {
  const { table } = await readBase(base)
  const source = openSource(settings.file, settings.busyTimeoutMs)
  const database = describeDatabase(source, settings.busyTimeoutMs)
  // However the clock was set, nothing is earlier than what is before it in the chain.
  const now = (): number => Math.max(Date.now() + skewMs, base.notBefore)
  const lookedAt = now()
  const image = await openImage(source, settings)
  const { pageSize, pageCount, journalMode, logMark } = image
  const capturedAt = Math.max(now(), lookedAt)
  if (pageSize !== table.pageSize) throw otherPageSize(table.pageSize, pageSize)
  const store = new ChangeStore(pageSize, settings.temporaryDirectory)
  const before = table.state
  const { pages } = await compareImage(image, table, store, onProgress)
  const step: Omit<Step, 'commits'> = {
    lookedAt,
    capturedAt,
    how: 'comparison',
    before,
    after: table.state,
    firstCommit: 1,
    lastCommit: store.openCommits > 0 ? Math.max(1, base.newestCommit) : 0,
    ...(logMark && { mark: logMark }),
  }
  store.endStep(step)
  const { plain, stored } = await store.write(output, compression)
  store.clear()
  return {
    database: { ...database, pageSize, pageCount, journalMode },
    plain,
    stored,
    step,
    pages,
    notes: image.notes,
  }
}

const otherPageSize = (before: number, now: number): BackupError =>
  new BackupError('BASE_UNUSABLE', `The database has pages of ${now} bytes now; in the chain's full it had ${before}.`)
