/**
 * Copies `source` from `start` to `end` into shared memory. Node leaves a whole buffer to V8, which copies into shared
 * memory byte by byte unless both sides are aligned alike: ten times slower. A part of one Node copies itself.
 */
export function copyToShared(target: Buffer, at: number, source: Buffer, start = 0, end = source.length): void {
  if (start >= end) return
  const last = end - 1
  source.copy(target, at, start, last)
  target[at + last - start] = source[last] as number
}
