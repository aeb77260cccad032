import { BackupError, type OpenBackup } from '@taskflow-backup/core'
import { parsePosition } from '../position.ts'
import { parseMemberName } from './member-names.ts'

/** What a restore knows of its backups from their manifests alone. */
export interface RestoreChain {
  readonly backups: readonly OpenBackup[]
  readonly systemIdentifier: string
  readonly majorVersion: number
  readonly segmentBytes: number
  /** On which the last backup ends. */
  readonly timeline: number
  /** Oids of all tablespaces of any base backup. */
  readonly tablespaces: readonly string[]
  readonly plainBytes: number
}

const BASE_METHODS = ['base-backup', 'incremental-base-backup']

/**
 * Refuses what is no chain of physical backups of one cluster.
 *
 * @throws `ENGINE_MISMATCH`, `CONTRACT_BROKEN`
 */
export function checkChain(backups: readonly OpenBackup[]): RestoreChain {
  const [full] = backups
  const last = backups.at(-1)
  if (!full || !last || full.manifest.kind !== 'full') {
    throw new BackupError('CONTRACT_BROKEN', 'A restore begins with a full backup.')
  }
  const details = detailsOf(full)
  for (const backup of backups) {
    const other = detailsOf(backup)
    if (other.systemIdentifier !== details.systemIdentifier || other.majorVersion !== details.majorVersion) {
      throw new BackupError('ENGINE_MISMATCH', `${backup.manifest.id} is of another cluster than ${full.manifest.id}.`)
    }
  }
  const members = backups.flatMap(({ manifest }) => manifest.members)
  const oids = members.flatMap(({ name }) => {
    const member = parseMemberName(name)
    return member?.kind === 'tablespace' ? [member.oid] : []
  })
  return {
    backups,
    ...details,
    timeline: parsePosition(last.manifest.position.end).timeline,
    tablespaces: [...new Set(oids)],
    plainBytes: members.reduce((sum, { plain }) => sum + plain.bytes, 0),
  }
}

function detailsOf({ manifest }: OpenBackup): Pick<RestoreChain, 'systemIdentifier' | 'majorVersion' | 'segmentBytes'> {
  const { method, kind, source } = manifest
  const { mode, systemIdentifier, majorVersion, walSegmentBytes } = source.details ?? {}
  if (mode !== 'physical' || (kind === 'log' ? method !== 'wal' : !BASE_METHODS.includes(method))) {
    throw new BackupError('ENGINE_MISMATCH', `${manifest.id} is no physical backup: it was made by ${method}.`, {
      hint: "Restore it with the adapter's option mode: 'logical'.",
    })
  }
  const segmentBytes = Number(walSegmentBytes)
  if (
    typeof systemIdentifier !== 'string' ||
    !Number.isInteger(majorVersion) ||
    !(segmentBytes >= 2 ** 20 && segmentBytes <= 2 ** 30 && Number.isInteger(Math.log2(segmentBytes)))
  ) {
    throw new BackupError('CONTRACT_BROKEN', `The manifest of ${manifest.id} does not say what it is of.`)
  }
  return { systemIdentifier, majorVersion: Number(majorVersion), segmentBytes }
}
