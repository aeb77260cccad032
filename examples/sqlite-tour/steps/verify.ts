import { cp, open } from 'node:fs/promises'
import { join } from 'node:path'
import {
  BackupError,
  type BackupResult,
  defineBackupPlan,
  directory,
  restoreBackup,
  verifyBackup,
} from '@taskflow-backup/core'
import { formatMs } from '../format.ts'
import type { Scene } from '../scene.ts'

const LEVELS = [
  ['stored', 'every stored byte is what was sent'],
  ['decoded', 'it decompresses to what was read, and is a database'],
  ['restored', 'restored into a scratch place, SQLite checks it whole'],
] as const

/** Verifies the backup three times, deeper each time. */
export async function verifyThreeLevels({ screen, plan, verb }: Scene, { id }: BackupResult): Promise<void> {
  screen.step('Verify it, at three levels', 'a backup that has never been restored is only a rumour.')
  for (const [level, meaning] of LEVELS) {
    const { durationMs } = await verifyBackup(plan, { id, level, ...verb })
    screen.mark('good', `${level.padEnd(9)} ${meaning} (${formatMs(durationMs)})`)
  }
}

/** Flips one stored byte in a copy of the destination and lets the library find it. */
export async function findFlippedByte(
  { screen, plan, backups, folder, verb }: Scene,
  backup: BackupResult,
): Promise<void> {
  screen.step('Flip one stored byte in a copy', 'disks and networks do this now and then, without a word.')
  const copy = join(folder, 'backups-damaged')
  await cp(backups, copy, { recursive: true })
  const member = backup.manifest.members[0]?.file ?? ''
  const file = join(copy, plan.name, backup.id, member)
  const at = await flipByte(file)
  screen.tell(`Byte ${at.toLocaleString('en-GB')} of ${member} has one bit changed.`)
  const { name, adapter } = plan
  const damaged = { name: 'copy', storage: directory(copy) }
  const damagedPlan = defineBackupPlan({ name, adapter, destinations: [damaged] })
  const error = await expectFailure(() => verifyBackup(damagedPlan, { id: backup.id, level: 'stored', ...verb }))
  screen.mark('bad', error.code)
  screen.tell(error.message)
  screen.tell(`Hint: ${error.hint}`)
  // With a second destination the damage costs nothing but a warning.
  const both = defineBackupPlan({
    name,
    adapter,
    destinations: [damaged, { name: 'backups', storage: directory(backups) }],
  })
  const to = join(folder, 'restored-around-the-damage.db')
  const { destination } = await restoreBackup(both, { id: backup.id, to, ...verb })
  screen.mark('good', `A plan with both places restores all the same: read from "${destination}".`)
}

async function flipByte(file: string): Promise<number> {
  const handle = await open(file, 'r+')
  try {
    const { size } = await handle.stat()
    const at = Math.floor(size / 2)
    const byte = Buffer.alloc(1)
    await handle.read(byte, 0, 1, at)
    await handle.write(Buffer.from([(byte[0] ?? 0) ^ 0x01]), 0, 1, at)
    return at
  } finally {
    await handle.close()
  }
}

async function expectFailure(work: () => Promise<unknown>): Promise<BackupError> {
  try {
    await work()
  } catch (error) {
    if (error instanceof BackupError && error.code === 'VERIFICATION_FAILED') return error
    throw error
  }
  throw new BackupError('INTERNAL', 'The flipped byte was not noticed.')
}
