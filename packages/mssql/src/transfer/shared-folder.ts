import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { BackupError, jobMember, type Member, type RunningJob, toBackupError } from '@taskflow-backup/core'
import { startJob } from '../child-process.ts'
import type { ScannedFile, SentFile } from '../jobs.ts'
import type { SqlSession } from '../session.ts'
import type { Delivery, DeliveryOrders } from './delivery.ts'
import { extensionOf } from './extension.ts'
import { onServer, stripeSuffix, temporaryName } from './names.ts'
import type { SharedFolderTransfer } from './options.ts'
import { deleteOnServer } from './server-files.ts'

/** The server writes into a folder that this process sees as well; a child reads the files from there. */
export function deliverThroughFolder(
  { request, workId, stripes, ctx }: DeliveryOrders,
  { serverDirectory, localDirectory }: SharedFolderTransfer,
): Delivery {
  const kind = extensionOf(request.kind)
  const files = Array.from({ length: stripes }, (_, index) => {
    const name = temporaryName(workId, kind, index + 1, stripes)
    const member = `${request.fileStem}${stripeSuffix(index + 1, stripes)}.${kind}`
    return { member, local: join(localDirectory, name), server: onServer(serverDirectory, name) }
  })
  let job: RunningJob<SentFile> | undefined

  async function* members(): AsyncGenerator<Member, readonly ScannedFile[], void> {
    const scanned: ScannedFile[] = []
    for (const { local, server } of files) await assertSeen(local, server)
    try {
      for (const { member, local } of files) {
        const { compression } = request
        job = startJob('sendBackup', { name: member, source: { file: local }, compression }, ctx)
        yield jobMember(member, job, compression, (sent) => scanned.push(sent.scanned))
        await job.result
      }
      return scanned
    } finally {
      job?.kill()
      await job?.result.catch(() => {})
    }
  }

  return {
    devices: files.map(({ server }) => ({ type: 'disk', path: server })),
    stays: false,
    members,
    async discard(session) {
      for (const { local, server } of files) await removeShared(session, local, server)
    },
  }
}

async function assertSeen(local: string, server: string): Promise<void> {
  try {
    await stat(local)
  } catch (thrown) {
    const error = toBackupError(thrown, 'SERVER_SETTING', `The server wrote ${server}, which is not at ${local}`)
    throw new BackupError('SERVER_SETTING', error.message, {
      cause: thrown,
      hint: '`serverDirectory` and `localDirectory` must be the same folder, seen from both sides.',
    })
  }
}

/** Whoever may not delete the server's file leaves that to the server. */
async function removeShared(session: SqlSession, local: string, server: string): Promise<void> {
  try {
    await rm(local, { force: true })
  } catch {
    await deleteOnServer(session, server)
  }
}
