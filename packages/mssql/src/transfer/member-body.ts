import { Readable } from 'node:stream'
import type { Compression, Member, RunningJob } from '@taskflow-backup/core'
import type { ScannedFile, SentFile } from '../jobs.ts'

const READ_AHEAD_BYTES = 1024 * 1024

/** A member that a job sends; its end is withheld until the job gave its result. */
export function toMember(
  name: string,
  job: RunningJob<SentFile>,
  { algorithm, level }: Compression,
  onScanned: (scanned: ScannedFile) => void,
): Member {
  let sent: SentFile | undefined
  async function* body(): AsyncGenerator<Buffer> {
    try {
      yield* job.channel as AsyncIterable<Buffer>
    } catch (error) {
      await job.result // its own reason is the better one
      throw error
    }
    sent = await job.result
    onScanned(sent.scanned)
  }
  return {
    name,
    body: Readable.from(body(), { objectMode: false, highWaterMark: READ_AHEAD_BYTES }),
    encoded: {
      codecs: algorithm === 'none' ? [] : [{ name: algorithm, level }],
      plain: () => (sent as SentFile).plain,
      stored: () => (sent as SentFile).stored,
    },
  }
}

/** `plan_backup_20261122_020000.bak`, `.trn` for a log, with `_1of4` for a stripe. */
export const extensionOf = (kind: string): 'bak' | 'trn' => (kind === 'log' ? 'trn' : 'bak')
