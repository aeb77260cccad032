import type { BackupAdapter } from '../contracts/adapter.ts'
import type { Manifest } from '../contracts/backup.ts'

/**
 * The logs that lead furthest from `start`: each begins no later than what is before it ends. Of several that go on
 * there, one that leads furthest is taken, so that a merged log is used instead of those that it was made of.
 *
 * `logs` are in any order; what does not connect is left out.
 */
export function pathOfLogs(
  { comparePositions }: Pick<BackupAdapter, 'comparePositions'>,
  start: Manifest,
  logs: readonly Manifest[],
): Manifest[] {
  const byBegin = logs
    .filter(({ position }) => position.begin !== undefined)
    .sort((a, b) => comparePositions(a.position.begin as string, b.position.begin as string))
  const path: Manifest[] = []
  let { end } = start.position
  let best: Manifest | undefined
  for (let i = 0; ; ) {
    for (; i < byBegin.length; i++) {
      const log = byBegin[i] as Manifest
      if (comparePositions(log.position.begin as string, end) > 0) break
      if (comparePositions(log.position.end, best?.position.end ?? end) > 0) best = log
    }
    if (!best || comparePositions(best.position.end, end) <= 0) return path
    path.push(best)
    end = best.position.end
  }
}
