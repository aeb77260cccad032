// How fast a backup file of SQL Server is read through, beside `cat`: on a file of 1 GiB that is in the page cache, round
// by round in turn. `node mtf.ts`; `FILE_BYTES` and `ROUNDS` change the size and the rounds (an odd number).
import { open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { scanFile } from '../packages/mssql/src/mtf/index.ts'
import { seal } from '../packages/mssql/test/support/mtf-fields.ts'
import { writeMtf } from '../packages/mssql/test/support/mtf-writer.ts'
import { here, median, quote, run } from './measure.ts'

const BYTES = Number(process.env.FILE_BYTES ?? 2 ** 30)
const ROUNDS = Number(process.env.ROUNDS ?? 5)
/** WITH CHECKSUM, of the build whose checksums the reader computes; and of another, where data is only passed over. */
const BUILDS = ['10.50.1600', '16.0.4135']

const [verb, file] = process.argv.slice(2)
if (verb === 'scan' && file) {
  const startedMs = performance.now()
  const { bytes } = await scanFile(file, { everything: true })
  console.log(JSON.stringify({ bytes, ms: performance.now() - startedMs }))
} else for (const build of BUILDS) await compare(build)

async function compare(build: string): Promise<void> {
  const path = join(tmpdir(), `mtf-bench-${process.pid}.bak`)
  try {
    const bytes = await writeLarge(path, build)
    const took = { cat: [] as number[], program: [] as number[], scan: [] as number[] }
    const scan = [process.execPath, here('mtf.ts'), 'scan', path].map(quote).join(' ')
    await run(`cat ${quote(path)} > /dev/null`)
    for (let round = 0; round < ROUNDS; round++) {
      took.cat.push((await run(`cat ${quote(path)} > /dev/null`)).wallS)
      const { wallS, said, failed } = await run(scan)
      if (failed || said.bytes !== bytes) throw new Error(`The file was not read to its end: ${failed}`)
      took.program.push(wallS)
      took.scan.push((said.ms ?? Number.NaN) / 1000)
    }
    const cat = median(took.cat)
    console.log(`build ${build}, ${bytes} bytes, median of ${ROUNDS} rounds`)
    for (const [name, values] of Object.entries(took)) {
      const wallS = median(values)
      const speed = (bytes / 1e6 / wallS).toFixed(0)
      console.log(
        `  ${name.padEnd(8)} ${wallS.toFixed(3)} s, ${speed} MB/s, ${(cat / wallS).toFixed(2)} of cat's speed`,
      )
    }
  } finally {
    await rm(path, { force: true })
  }
}

/** A full backup with one stream of `BYTES`, made from a small one without holding all of it. */
async function writeLarge(path: string, build: string): Promise<number> {
  const small = writeMtf({
    database: 'Tasks',
    kind: 'full',
    firstLsn: 1n,
    lastLsn: 2n,
    checkpointLsn: 1n,
    checksum: true,
    build,
  })
  const stream = small.indexOf('MQDA')
  small.writeBigUInt64LE(small.readBigUInt64LE(stream + 8) + BigInt(BYTES), stream + 8)
  seal(small, stream, 10)
  // The last file mark tells where the one before it is.
  const mark = small.length - 512
  small.writeBigUInt64LE(small.readBigUInt64LE(mark + 72) + BigInt(BYTES), mark + 72)
  const handle = await open(path, 'w')
  try {
    const piece = Buffer.alloc(2 ** 23)
    await handle.write(small.subarray(0, stream + 24))
    for (let left = BYTES; left > 0; left -= piece.length) await handle.write(piece.subarray(0, left))
    await handle.write(small.subarray(stream + 24))
  } finally {
    await handle.close()
  }
  return BYTES + small.length
}
