import type { Member, RunningJob } from '@taskflow-backup/core'
import { receiveMembers } from '../member-channel.ts'

/** The members that a job sends, as core takes them. Ends when the job has succeeded, else throws why it did not. */
export async function* membersOf(job: RunningJob<unknown>): AsyncGenerator<Member, void, void> {
  for await (const { name, codecs, body, facts } of receiveMembers(job.channel, () => job.result)) {
    yield { name, body, encoded: { codecs, plain: () => facts().plain, stored: () => facts().stored } }
  }
}
