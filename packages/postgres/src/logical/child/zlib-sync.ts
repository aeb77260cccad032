import { createRequire } from 'node:module'
import type { NewSyncInflate, SyncInflate } from '../inspect/decoder.ts'

interface ZlibSync {
  readonly Inflate: new (options: { readonly chunkSize: number }) => SyncInflate
}

const CHUNK_BYTES = 64 * 1024
/** Each needs about 100 KiB. */
const MOST_INFLATES = 200

/**
 * The optional package `zlib-sync`, for a process that is killed when it has done its work. When V8 collects what the
 * package (0.1.10) made, it aborts the process now and then, at the latest at its end. So nothing of it is ever let go,
 * and the tables of a dump that has very many are left to `node:zlib`.
 */
export function loadZlibSync(): NewSyncInflate {
  const kept: SyncInflate[] = []
  const Inflate = load()
  return () => {
    if (!Inflate || kept.length >= MOST_INFLATES) return undefined
    const inflate = new Inflate({ chunkSize: CHUNK_BYTES })
    kept.push(inflate)
    return inflate
  }
}

function load(): ZlibSync['Inflate'] | undefined {
  try {
    const { Inflate } = createRequire(import.meta.url)('zlib-sync') as ZlibSync
    return typeof Inflate === 'function' ? Inflate : undefined
  } catch {
    return undefined // not installed, or built for another version of Node.js: there is node:zlib
  }
}
