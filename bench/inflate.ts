// How fast the data of a dump is inflated that `pg_dump` itself compressed: zlib-sync against the streams of node:zlib.
//   node scripts/build-zlib-sync.mjs && node bench/inflate.ts, both with node_modules/node/bin/node
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { createInflate, deflateSync } from 'node:zlib'

const ROUNDS = 5
const ROWS = 600_000
/** As the chunks of `pg_dump` are, and as the inspection pushes them. */
const CHUNK_BYTES = 4 * 1024
const PIECE_BYTES = 8 * 1024

interface ZlibSync {
  readonly Z_SYNC_FLUSH: number
  readonly Inflate: new (options: {
    readonly chunkSize: number
  }) => { readonly err: number; readonly result: Buffer; push(piece: Buffer, flush: number): void }
}

const rows = Array.from({ length: ROWS }, (_, i) => `${i}\tCall customer ${(i * 7919) % 100_000}\t2026-11-22\topen\n`)
const plain = Buffer.from(rows.join(''))
const packed = deflateSync(plain)

const zlibSync = load()
for (let round = 0; round < ROUNDS; round++) {
  if (zlibSync) report('zlib-sync', await timed(() => inflateAtOnce(zlibSync)))
  report('node:zlib', await timed(inflateInPool))
}

function load(): ZlibSync | undefined {
  try {
    return createRequire(import.meta.url)('zlib-sync') as ZlibSync
  } catch {
    console.log('zlib-sync is not installed, or was built for another Node.js.')
    return undefined
  }
}

function inflateAtOnce({ Inflate, Z_SYNC_FLUSH }: ZlibSync): number {
  const inflate = new Inflate({ chunkSize: 64 * 1024 })
  let bytes = 0
  for (let at = 0; at < packed.length; at += PIECE_BYTES) {
    inflate.push(packed.subarray(at, at + PIECE_BYTES), Z_SYNC_FLUSH)
    bytes += inflate.result.length
  }
  return bytes
}

async function inflateInPool(): Promise<number> {
  const inflate = createInflate()
  let bytes = 0
  inflate.on('data', (piece: Buffer) => {
    bytes += piece.length
  })
  const ended = once(inflate, 'end')
  for (let at = 0; at < packed.length; at += CHUNK_BYTES) {
    await new Promise((resolve) => inflate.write(packed.subarray(at, at + CHUNK_BYTES), resolve))
  }
  inflate.end()
  await ended
  return bytes
}

interface Cost {
  readonly tookMs: number
  readonly cpuMs: number
}

async function timed(work: () => number | Promise<number>): Promise<Cost> {
  const startedMs = performance.now()
  const startedCpu = process.cpuUsage()
  const bytes = await work()
  if (bytes !== plain.length) throw new Error(`It gave ${bytes} bytes of ${plain.length}.`)
  const { user, system } = process.cpuUsage(startedCpu)
  return { tookMs: performance.now() - startedMs, cpuMs: (user + system) / 1000 }
}

function report(name: string, { tookMs, cpuMs }: Cost): void {
  const speed = plain.length / 1e6 / (tookMs / 1000)
  console.log(`${name}: ${tookMs.toFixed(0)} ms, ${speed.toFixed(0)} MB/s of plain data, ${cpuMs.toFixed(0)} ms of CPU`)
}
