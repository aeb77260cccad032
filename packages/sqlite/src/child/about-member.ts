import { BackupError, type ManifestMember } from '@taskflow-backup/core'

/** Does work with a member; when it is damaged, the error gets its name. */
export async function about(member: ManifestMember, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!(error instanceof BackupError) || error.code !== 'MEMBER_DAMAGED' || error.message.includes(member.file))
      throw error
    throw new BackupError('MEMBER_DAMAGED', `${member.file}: ${error.message}`, { cause: error })
  }
}
