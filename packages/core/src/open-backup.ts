import type { OpenBackup } from './contracts/adapter.ts'
import type { Manifest } from './contracts/backup.ts'
import { BackupError } from './errors.ts'
import { memberKey } from './layout.ts'
import { incoming } from './pipeline/member.ts'
import type { Destination } from './plan.ts'

/** Opens a backup for reading from one destination; `onBytes` is told about every plain byte that passes. */
export function openBackup(
  destination: Destination,
  manifest: Manifest,
  signal: AbortSignal,
  onBytes: (added: number) => void = () => {},
): OpenBackup {
  return {
    manifest,
    destination: destination.name,
    async open(memberName) {
      const member = manifest.members.find(({ name }) => name === memberName)
      if (!member) throw new BackupError('CONTRACT_BROKEN', `${manifest.id} has no member ${memberName}.`)
      const object = await destination.storage.get(memberKey(manifest.plan, manifest.id, member.file), { signal })
      let told = 0
      return incoming(member, object, (bytes) => {
        onBytes(bytes - told)
        told = bytes
      })
    },
  }
}
