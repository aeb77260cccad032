import type { Compression, Member } from '../contracts/adapter.ts'
import type { StreamFacts } from '../contracts/backup.ts'
import { LentBody } from '../pipeline/lent-body.ts'
import { channelPieces } from './channel-pieces.ts'
import type { RunningJob } from './start-job.ts'

/** Lengths and hashes of a stream before and after its compression. */
export interface SentFacts {
  readonly plain: StreamFacts
  readonly stored: StreamFacts
}

/**
 * A member that a job sends over its channel, compressed as `compression` says. Its end is withheld until the job gave
 * its result, which `onResult` is told first.
 */
export function jobMember<Result extends SentFacts>(
  name: string,
  job: Pick<RunningJob<Result>, 'channel' | 'result'>,
  { algorithm, level }: Compression,
  onResult: (result: Result) => void = () => {},
): Member {
  let sent: Result | undefined
  job.result.catch(() => {}) // thrown where it is awaited: nowhere, when nobody reads the member to its end
  async function* body(): AsyncGenerator<Buffer, void, void> {
    try {
      yield* channelPieces(job.channel)
    } catch (error) {
      await job.result // its own reason is the better one
      throw error
    }
    // The channel ends in every case; only a result says that it ended where it should.
    sent = await job.result
    onResult(sent)
  }
  return {
    name,
    body: new LentBody(body()),
    encoded: {
      codecs: algorithm === 'none' ? [] : [{ name: algorithm, level }],
      plain: () => (sent as Result).plain,
      stored: () => (sent as Result).stored,
    },
  }
}
