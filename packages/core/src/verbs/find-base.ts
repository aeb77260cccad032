import { type Catalog, readCatalog } from '../catalog.ts'
import type { BackupRequest, OpenBackup } from '../contracts/adapter.ts'
import type { BackupKind, CatalogEntry, Manifest } from '../contracts/backup.ts'
import { BackupError, toBackupError } from '../errors.ts'
import { isDamage, ManifestReader } from '../manifest-reader.ts'
import { openBackup } from '../open-backup.ts'
import type { BackupPlan, Destination } from '../plan.ts'
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
  const manifests = new ManifestReader(plan, warn)
  let base: NonNullable<BackupRequest['base']>
  let without: string[]
  try {
    without = await lackingChain(plan, kind, full, chain, manifests)
    const lacking = plan.destinations.find(({ name, required }) => required && without.includes(name))
    if (lacking) return orFull(`Destination ${lacking.name} does not hold the whole chain ${full.chain}.`)
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
        const start = await manifests.read(full)
        const read: Manifest[] = []
        for await (const [, manifest] of manifests.readEach(logs)) {
          // Another one may stand for it; otherwise there is a gap.
          if (!(manifest instanceof BackupError)) read.push(manifest)
          else if (!isDamage(manifest)) throw manifest
        }
        const path = pathOfLogs(plan.adapter, start, read)
        const end = (path.at(-1) ?? start).position.end
        const last = newest && (await manifests.read(newest))
        if (last && plan.adapter.comparePositions(end, last.position.end) !== 0)
          throw new BackupError('BASE_UNUSABLE', `The log backups up to ${last.id} have a gap.`)
        const entries = new Map(logs.map((entry) => [entry.id, entry]))
        return Promise.all(path.map(({ id }) => open(entries.get(id) as CatalogEntry)))
      },
    }
  } catch (thrown) {
    const error = toBackupError(thrown, 'STORAGE_FAILED', `Cannot read the manifests of chain ${full.chain}`)
    if (!isDamage(error)) throw error
    return orFull(error.message)
  }
  return {
    kind,
    chain: full.chain,
    after: (chain.at(-1) as CatalogEntry).startedAt,
    base,
    without: new Set(without),
  }
}

/** Names of the destinations that do not hold what a backup of `kind` continues. */
async function lackingChain(
  { adapter, destinations }: BackupPlan,
  kind: BackupKind,
  full: CatalogEntry,
  chain: readonly CatalogEntry[],
  manifests: ManifestReader,
): Promise<string[]> {
  const logs = kind === 'log' ? chain.filter((backup) => backup.kind === 'log') : []
  const lacking: string[] = []
  for (const { name } of destinations) {
    const holds = ({ destinations: holders }: CatalogEntry): boolean => holders.includes(name)
    if (!holds(full)) lacking.push(name)
    if (!holds(full) || logs.every(holds)) continue
    // One may hold a merged log and another one what it was made of: what counts is where they lead to.
    const newest = logs.at(-1) as CatalogEntry
    const start = await manifests.read(full)
    const path = pathOfLogs(adapter, start, await manifests.readAll(logs.filter(holds)))
    const { end } = (await manifests.read(newest)).position
    if (adapter.comparePositions((path.at(-1) ?? start).position.end, end) !== 0) lacking.push(name)
  }
  return lacking
}
