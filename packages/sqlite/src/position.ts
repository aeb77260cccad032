// A position is `<chain>/<commit>`: the number of a commit, counted from 1 after the chain's full, in a fixed width, so
// that positions are in the order of their texts. Chains are named by their time.

const DIGITS = 15

/** The position of commit `commit` in the chain of the backup `id`. */
export const positionOf = (id: string, commit: number): string =>
  `${id.split('/')[0]}/${String(commit).padStart(DIGITS, '0')}`

/** The number of the commit at `position`; 0 for one of a version that did not count them. */
export function commitOf(position: string): number {
  const [, digits] = /\/(\d{15})$/.exec(position) ?? []
  return digits === undefined ? 0 : Number(digits)
}
