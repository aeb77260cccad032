import { BackupError, toBackupError } from '@taskflow-backup/core'
import type { ConnectionSettings } from '../connection.ts'
import { ReplicationConnection } from '../replication/connection.ts'
import { quoteName } from '../replication/quote.ts'
import { type SlotFacts, whySlotIsLost } from './slot.ts'

/** What {@link ensureSlot} did. */
export interface SlotOutcome {
  /** It is new: no log before this full can be had from it that an older chain could go on with. */
  readonly made: boolean
  readonly notes: readonly string[]
}

/**
 * Makes the slot when it is missing, and makes it anew when it was invalidated. Called before a full: from then on the
 * server keeps the log that the first log backup begins with. Returns what was done, for the notes.
 *
 * @throws `SERVER_BUSY` when the server has no slot left, `SERVER_SETTING` when the name is taken by a logical slot
 */
export async function ensureSlot(
  settings: ConnectionSettings,
  name: string,
  slot: SlotFacts | undefined,
): Promise<SlotOutcome> {
  if (slot?.type === 'logical') {
    throw new BackupError('SERVER_SETTING', `The replication slot "${name}" is a logical one.`, {
      hint: 'Give physical.slot another name.',
    })
  }
  const lost = whySlotIsLost(name, slot)
  if (lost === undefined) return { made: false, notes: [] }
  const connection = await ReplicationConnection.connect(settings)
  try {
    if (slot) await connection.run(`DROP_REPLICATION_SLOT ${quoteName(name)}`)
    await connection.run(`CREATE_REPLICATION_SLOT ${quoteName(name)} PHYSICAL RESERVE_WAL`)
  } catch (thrown) {
    const error = toBackupError(thrown, 'SERVER_FAILED', `Cannot create the replication slot "${name}"`)
    if (error.code !== 'SERVER_BUSY') throw error
    throw new BackupError('SERVER_BUSY', `There is no room for the replication slot "${name}". ${error.message}`, {
      hint: 'Raise max_replication_slots (it needs a restart), or drop a slot that nobody uses: SELECT * FROM pg_replication_slots WHERE NOT active.',
      cause: error.cause,
    })
  } finally {
    await connection.close()
  }
  return { made: true, notes: slot ? [`${lost} It was made anew.`] : [] }
}
