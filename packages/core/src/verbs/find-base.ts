import { type Catalog, readCatalog } from '../catalog.ts'
import type { BackupRequest, OpenBackup } from '../contracts/adapter.ts'
import type { BackupKind, CatalogEntry, Manifest } from '../contracts/backup.ts'
import { BackupError, toBackupError } from '../errors.ts'
import { ManifestReader } from '../manifest-reader.ts'
import { openBackup } from '../open-backup.ts'
import type { Destination } from '../plan.ts'
import { pathOfLogs } from './log-path.ts'
import type { Start } from './make-backup.ts'
import type { Work } from './run.ts'

/** A full instead of what was asked for. */
export const upgrade = (kind: BackupKind, reason: string): Start => ({ kind: 'full', requested: { kind, reason } })

/** Finds the newest chain and what a backup of `kind` continues there, or says why a full has to be made instead. */
export async function findBase(
  { plan, warn }: Pick<Work, 'plan' | 'warn'>,
  kind: BackupKind,
  signal: AbortSignal,
  catalog?: Pick<Catalog, 'backups'>,
): Promise<Start> {
  const orFull = (reason: string): Start => {
    if (plan.strictKinds) throw new BackupError('BASE_MISSING', reason)
    return upgrade(kind, reason)
  }
  const { backups } = catalog ?? (await readCatalog(plan.name, plan.destinations))
  const full = backups.findLast((backup) => backup.kind === 'full')
  if (!full) return orFull('There is no full backup yet.')
  const chain = backups.filter((backup) => backup.chain === full.chain)
  // A differential is always against the full; a log goes on where the last log, or the full, ended.
  const previous = kind === 'log' ? (chain.findLast((backup) => backup.kind === 'log') ?? full) : full
  const needed = kind === 'log' ? chain.filter((backup) => backup.kind !== 'differential') : [full]
  const lacks = (name: string): boolean => needed.some((backup) => !backup.destinations.includes(name))
  const lacking = plan.destinations.find(({ name, required }) => required && lacks(name))
  if (lacking) return orFull(`Destination ${lacking.name} does not hold the whole chain ${full.chain}.`)
  const manifests = new ManifestReader(plan, warn)
  let base: NonNullable<BackupRequest['base']>
  try {
    const open = async (entry: CatalogEntry): Promise<OpenBackup> => {
      const from = plan.destinations.find(({ name }) => entry.destinations.includes(name)) as Destination
      return openBackup(from, await manifests.read(entry), signal)
    }
    const logs = chain.filter((backup) => backup.kind === 'log')
    const newest = logs.at(-1)
    base = {
      full: await open(full),
      previous: await open(previous),
      ...(newest && { newestLog: await manifests.read(newest) }),
      logs: async () => {
        const read = await manifests.readAll([full, ...logs])
        const [start, ...rest] = read as [Manifest, ...Manifest[]]
        const path = pathOfLogs(plan.adapter, start, rest)
        const end = (path.at(-1) ?? start).position.end
        const last = rest.at(-1)
        if (last && plan.adapter.comparePositions(end, last.position.end) !== 0)
          throw new BackupError('BASE_UNUSABLE', `The log backups up to ${last.id} have a gap.`)
        return Promise.all(path.map(({ id }) => open(logs.find((log) => log.id === id) as CatalogEntry)))
      },
    }
  } catch (thrown) {
    const error = toBackupError(thrown, 'STORAGE_FAILED', `Cannot read the manifests of chain ${full.chain}`)
    if (error.code !== 'MANIFEST_DAMAGED' && error.code !== 'OBJECT_MISSING') throw error
    return orFull(error.message)
  }
  const without = plan.destinations.map(({ name }) => name).filter(lacks)
  return {
    kind,
    chain: full.chain,
    after: (chain.at(-1) as CatalogEntry).startedAt,
    base,
    without: new Set(without),
  }
}
