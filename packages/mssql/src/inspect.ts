import { buffer } from 'node:stream/consumers'
import {
  type AdapterContext,
  BackupError,
  type Finding,
  inspectByJob,
  type MemberToInspect,
} from '@taskflow-backup/core'
import { scanBackup } from './child/scan-backup.ts'
import { startJob } from './child-process.ts'
import type { MssqlDetails } from './details.ts'
import type { CheckedOptions } from './options.ts'
import { inSession } from './session.ts'
import { verifyStatement } from './statements/restore.ts'
import { MOST_RECORD_BYTES, readRecord } from './transfer/on-server-record.ts'
import type { UnreadMember } from './vouch.ts'

/**
 * Checks a backup file without a server. Of a backup that stayed on the server, the server is asked: RESTORE VERIFYONLY
 * reads it from its begin to its end.
 */
export async function inspectMember(
  options: CheckedOptions,
  member: MemberToInspect,
  ctx: AdapterContext,
): Promise<readonly Finding[]> {
  const { name, body, plainBytes, details } = member
  if (name.endsWith('.json')) return verifyOnServer(options, name, await readSmall(name, body, plainBytes), ctx)
  const findings = await inspectByJob(
    member,
    () => startJob('scanBackup', { name }, ctx),
    (small) => scanBackup(name, small as AsyncIterable<Buffer>),
  )
  const unread = (details as Partial<MssqlDetails> | undefined)?.unread?.find((one) => one.member === name)
  return unread ? findings.map((finding) => asBefore(finding, unread)) : findings
}

/** What the reader said already when the backup was made, and the server vouched for it, is no damage. */
function asBefore(finding: Finding, { reason }: UnreadMember): Finding {
  if (finding.severity !== 'error' || finding.message !== reason) return finding
  const message = `${reason} So it was when it was made, and the server verified it then; only a restore can tell more.`
  return { check: finding.check, severity: 'warning', message }
}

async function readSmall(name: string, body: MemberToInspect['body'], plainBytes: number): Promise<Buffer> {
  if (plainBytes <= MOST_RECORD_BYTES) return buffer(body)
  body.destroy()
  throw new BackupError('MEMBER_DAMAGED', `${name} has ${plainBytes} bytes, more than it may.`)
}

async function verifyOnServer(
  options: CheckedOptions,
  name: string,
  bytes: Buffer,
  ctx: AdapterContext,
): Promise<Finding[]> {
  const check = 'restore-verifyonly'
  try {
    const { devices, credential, database, kind } = readRecord(name, bytes)
    await inSession(options, ctx.signal, (session) =>
      session.run(verifyStatement(devices, { ...(credential !== undefined && { credential }) }), {
        signal: ctx.signal,
        inactivityMs: options.inactivityTimeoutMs,
      }),
    )
    const paths = devices.map(({ path }) => path).join(', ')
    return [{ check, severity: 'ok', message: `The server verified the ${kind} backup of ${database} in ${paths}.` }]
  } catch (error) {
    if (!(error instanceof BackupError) || error.code === 'ABORTED') throw error
    return [{ check, severity: 'error', message: `${name}: ${error.message}`, code: error.code }]
  }
}
