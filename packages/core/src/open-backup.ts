import type { Readable } from 'node:stream'
import type { OpenBackup } from './contracts/adapter.ts'
import type { Manifest, ManifestMember } from './contracts/backup.ts'
import { BackupError } from './errors.ts'
import { memberKey } from './layout.ts'
import { borrow, LentBody } from './pipeline/lent-body.ts'
import { decodeMember } from './pipeline/member.ts'
import type { Destination } from './plan.ts'

const SMALL_BYTES = 64 * 1024

/** Opens a backup for reading from one destination; `onBytes` is told about every plain byte that passes. */
export function openBackup(
  destination: Destination,
  manifest: Manifest,
  signal: AbortSignal,
  onBytes: (added: number) => void = () => {},
): OpenBackup {
  const find = (memberName: string): ManifestMember => {
    const member = manifest.members.find(({ name }) => name === memberName)
    if (!member) throw new BackupError('CONTRACT_BROKEN', `${manifest.id} has no member ${memberName}.`)
    return member
  }
  const get = ({ file }: ManifestMember): Promise<Readable> =>
    destination.storage.get(memberKey(manifest.plan, manifest.id, file), { signal })
  /** Makes of "so many in all" the "so many more" that `onBytes` is told. */
  const tell = (): ((bytes: number) => void) => {
    let told = 0
    return (bytes) => {
      onBytes(bytes - told)
      told = bytes
    }
  }

  return {
    manifest,
    destination: destination.name,
    async open(memberName) {
      const member = find(memberName)
      return decodeMember(member, await get(member), tell())
    },
    async openStored(memberName) {
      const member = find(memberName)
      const object = await get(member)
      const told = tell()
      // Of many small ones each is told at its end: what counts on its way costs more than the reading.
      if (member.stored.bytes <= SMALL_BYTES) return object.once('end', () => told(member.plain.bytes))
      // Whoever takes copies gets them as small as the storage makes them.
      const pieces = (): AsyncIterable<Uint8Array> => (body.isLent ? borrow(object) : object)
      const body: LentBody = new LentBody(counted(pieces, member, told))
      // A body that is destroyed before it was read never enters its generator.
      return body.once('close', () => object.destroy())
    },
  }
}

/** Hands stored bytes on and tells of them as if they were plain ones: the share that has passed. */
async function* counted(
  pieces: () => AsyncIterable<Uint8Array>,
  member: ManifestMember,
  onBytes: (bytes: number) => void,
): AsyncGenerator<Uint8Array, void, void> {
  let passed = 0
  for await (const piece of pieces()) {
    passed += piece.length
    onBytes(Math.floor((passed / Math.max(1, member.stored.bytes)) * member.plain.bytes))
    yield piece
  }
}
