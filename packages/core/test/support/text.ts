import { collect } from '../../../testing/src/index.ts'
import type { Storage } from '../../src/index.ts'

/** Keys of everything in a storage but locks. */
export async function keysOf(storage: Storage, prefix = ''): Promise<string[]> {
  return (await collect(storage.list(prefix))).map(({ key }) => key).filter((key) => !key.includes('/lock-'))
}

/** The code of what `work` rejects with; `undefined` when it resolves. */
export async function codeOf(work: Promise<unknown>): Promise<string | undefined> {
  return work.then(
    () => undefined,
    (error: { code?: string }) => error.code ?? String(error),
  )
}
