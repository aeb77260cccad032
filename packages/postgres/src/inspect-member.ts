import type { Readable } from 'node:stream'
import { type AdapterContext, type Finding, inspectByJob, type MemberToInspect } from '@taskflow-backup/core'
import { startJob } from './child-process.ts'

/** Checks the format of one member: a large one in a child process, which runs `job`, a small one `here`. */
export function inspectMember(
  member: MemberToInspect,
  job: 'scanMember' | 'inspectDump',
  here: (name: string, body: Readable, plainBytes: number) => Promise<readonly Finding[]>,
  ctx: AdapterContext,
): Promise<readonly Finding[]> {
  const { name, plainBytes } = member
  return inspectByJob(
    member,
    () => startJob(job, { name, plainBytes }, ctx),
    (body) => here(name, body, plainBytes),
  )
}
