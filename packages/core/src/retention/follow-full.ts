import type { CatalogEntry } from '../contracts/backup.ts'
import type { Decision } from '../contracts/policy.ts'

/**
 * Decisions for a policy that is about fulls only: differentials and logs share the fate of their chain's full.
 *
 * `keptFulls` has the reasons by id; a full that is not in it goes for the reason `otherwise`.
 */
export function decideByFull(
  backups: readonly CatalogEntry[],
  keptFulls: ReadonlyMap<string, readonly string[]>,
  otherwise: string,
): Decision[] {
  const keptChains = new Set<string>()
  const chains = new Set<string>()
  for (const { id, chain, kind } of backups) {
    if (kind !== 'full') continue
    chains.add(chain)
    if (keptFulls.has(id)) keptChains.add(chain)
  }
  return backups.map(({ id, chain, kind }) => {
    if (kind === 'full') {
      const reasons = keptFulls.get(id)
      return { id, keep: reasons !== undefined, reasons: reasons ?? [otherwise] }
    }
    if (keptChains.has(chain)) return { id, keep: true, reasons: ['its full is kept'] }
    return { id, keep: false, reasons: [chains.has(chain) ? 'its full is not kept' : 'its full is missing'] }
  })
}
