import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { defineBackupPlan, memory } from '@taskflow-backup/core'
import fc from 'fast-check'
import { pack } from 'tar-stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { postgres } from '../src/index.ts'
import { readCustomFormat } from '../src/logical/inspect/custom-format.ts'
import { inspectDump } from '../src/logical/inspect/inspect.ts'
import { type ArchiveOptions, writeArchive } from './support/custom-archive.ts'
import { Databases, startSharedServer, whyNoLogical } from './support/databases.ts'
import { clientPrograms } from './support/programs.ts'
import { PASSWORD, type TestServer } from './support/server.ts'
import { spawnWithZlibSync } from './support/without-native.ts'

const require = createRequire(import.meta.url)
const adapter = postgres({ connection: 'postgres://nobody@localhost/none' })

const SMALL: Omit<ArchiveOptions, 'minor' | 'compression'> = {
  tables: [['1\tone', '2\ttwo'], [], ['x'.repeat(300)]],
  largeObjects: [Buffer.from('a picture'), Buffer.alloc(0)],
}
const VARIANTS = [12, 13, 14, 15, 16].flatMap((minor) =>
  (minor >= 15 ? (['none', 'gzip', 'zstd', 'lz4'] as const) : (['none', 'gzip'] as const)).map((compression) => ({
    minor,
    compression,
  })),
)

/** One of each sort, for what is done thousands of times. */
const SOME = VARIANTS.filter(({ minor, compression }) =>
  ['12 none', '14 gzip', '15 zstd', '16 none'].includes(`${minor} ${compression}`),
)

async function inspect(name: string, bytes: Buffer, pieceBytes = 65_536): Promise<string> {
  const pieces = Array.from({ length: Math.ceil(bytes.length / pieceBytes) }, (_, i) =>
    bytes.subarray(i * pieceBytes, (i + 1) * pieceBytes),
  )
  const [finding] = await inspectDump(name, Readable.from(pieces, { objectMode: false }))
  return `${finding?.severity}: ${finding?.message}`
}

describe('the custom format', () => {
  test.for(VARIANTS)('1.$minor with $compression, in pieces of any length', async (variant) => {
    const { bytes } = writeArchive({ ...SMALL, ...variant })
    for (const pieceBytes of [1, 7, 100, 65_536]) {
      expect(await inspect('a.dump', bytes, pieceBytes)).toMatch(
        /^ok: .*\(format 1\.\d+\.0\): 5 entries, data of 3 tables, 2 large objects/,
      )
    }
  })

  test.for(SOME)('1.$minor with $compression, cut off anywhere', async (variant) => {
    const { bytes } = writeArchive({ ...SMALL, ...variant })
    for (let length = 0; length < bytes.length; length++)
      expect(await inspect('a.dump', bytes.subarray(0, length)), String(length)).toMatch(/^error/)
    expect(await inspect('a.dump', Buffer.concat([bytes, Buffer.from('more')]))).toMatch(/^error/)
  })

  test.for(SOME)('1.$minor with $compression, one bit of its structure flipped', async (variant) => {
    const { bytes, structure } = writeArchive({ ...SMALL, ...variant })
    const unfound: number[] = []
    for (const at of structure) {
      const flipped = Buffer.from(bytes)
      flipped[at] = (bytes[at] as number) ^ (1 << (at % 8))
      if ((await inspect('a.dump', flipped)).startsWith('ok')) unfound.push(at)
    }
    expect(unfound).toEqual([])
  })

  test.for(['gzip', 'zstd'] as const)('compressed data (%s) with one bit flipped', async (compression) => {
    const rows = Array.from({ length: 40 }, (_, i) => `${i}\ttask ${i * 7919}`)
    const { bytes } = writeArchive({ minor: 16, compression, tables: [rows], largeObjects: [] })
    const begin = bytes.length - 150 // within the last table's data
    const unfound: number[] = []
    for (let at = begin; at < bytes.length; at++) {
      const flipped = Buffer.from(bytes)
      flipped[at] = (bytes[at] as number) ^ 0x10
      if ((await inspect('a.dump', flipped)).startsWith('ok')) unfound.push(at - begin)
    }
    // Zstandard without a checksum does not see every flip; the SHA-256 of the member does.
    if (compression === 'gzip') expect(unfound).toEqual([])
    else expect(unfound.length).toBeLessThan(150)
  })

  test('anything at all neither hangs nor crashes it', async () => {
    const { bytes } = writeArchive({ ...SMALL, minor: 14, compression: 'none' })
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length), fc.uint8Array({ maxLength: 200 }), async (keep, noise) => {
        const said = await inspect('a.dump', Buffer.concat([bytes.subarray(0, keep), noise]))
        expect(said).toMatch(keep === bytes.length && noise.length === 0 ? /^ok/ : /^(ok|error)/)
      }),
      { numRuns: 100 },
    )
  })

  test('an absurd length costs no memory', async () => {
    const { bytes } = writeArchive({ ...SMALL, minor: 14, compression: 'none' })
    const name = bytes.indexOf('15.18') - 5
    const absurd = Buffer.from(bytes)
    absurd.writeUInt32LE(0x7fff_ffff, name + 1)
    expect(await inspect('a.dump', absurd)).toContain('a text of 2147483647 bytes')
  })

  const inspectLarge = async (bytes: Buffer, standIn?: string): Promise<string> => {
    const ctx = {
      ...defineBackupPlan({ name: 'a', adapter, destinations: [memory()] }).runtime,
      ...(standIn !== undefined && { spawn: spawnWithZlibSync(standIn) }),
      signal: new AbortController().signal,
      onProgress: () => {},
      onWarning: () => {},
    }
    const [finding] = await adapter.inspect({ name: 'a.dump', body: Readable.from([bytes]), plainBytes: 2 ** 21 }, ctx)
    return finding?.severity ?? 'nothing'
  }

  test('a large one is read in a child process, with zlib-sync where it is installed', async ({
    skip,
    onTestFinished,
  }) => {
    const folder = await mkdtemp(join(tmpdir(), 'zlib-sync-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const used = join(folder, 'used')
    const standIn = join(folder, 'index.cjs')
    await writeFile(
      standIn,
      `const real = require(${JSON.stringify(require.resolve('zlib-sync'))})
      class Inflate extends real.Inflate {
        push(...args) { require('node:fs').writeFileSync(${JSON.stringify(used)}, ''); return super.push(...args) }
      }
      module.exports = { ...real, Inflate }`,
    )
    const { bytes } = writeArchive({ ...SMALL, minor: 16, compression: 'gzip' })
    expect(await inspectLarge(bytes, standIn)).toBe('ok')
    // Not in this process: see src/logical/child/zlib-sync.ts.
    const loads = spawnSync(process.execPath, ['-e', "require('zlib-sync')"], { encoding: 'utf8' })
    if (/ERR_DLOPEN_FAILED|Cannot find|Could not locate/.test(loads.stderr))
      skip(`zlib-sync was not compiled for Node.js ${process.version}`)
    expect(existsSync(used)).toBe(true)
    for (const [damaged, severity] of damagedAndNot()) expect(await inspectLarge(damaged, standIn)).toBe(severity)
    // More tables than it may inflate: see src/logical/child/zlib-sync.ts.
    const tables = Array.from({ length: 300 }, (_, i) => [`${i}\ttask ${i}`])
    expect(await inspectLarge(writeArchive({ tables, largeObjects: [], minor: 16, compression: 'gzip' }).bytes)).toBe(
      'ok',
    )
  })

  test.for([
    ['is not installed', undefined],
    ['cannot be loaded', Buffer.from('built for another Node.js')],
    ['is another one', Buffer.from('exports.Inflate = undefined')],
  ] as const)('where zlib-sync %s, node:zlib finds the same', async ([why, content], { onTestFinished }) => {
    const folder = await mkdtemp(join(tmpdir(), 'zlib-sync-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const standIn = join(folder, why === 'is another one' ? 'index.cjs' : 'zlib_sync.node')
    if (content !== undefined) await writeFile(standIn, content)
    for (const [damaged, severity] of damagedAndNot()) expect(await inspectLarge(damaged, standIn)).toBe(severity)
  })

  function damagedAndNot(): (readonly [Buffer, 'ok' | 'error'])[] {
    const { bytes } = writeArchive({ ...SMALL, minor: 16, compression: 'gzip' })
    const flipped = Buffer.from(bytes)
    const row = bytes.indexOf(Buffer.from([0x78, 0x9c])) + 5
    flipped[row] = (bytes[row] as number) ^ 0x10
    return [
      [bytes, 'ok'],
      [bytes.subarray(0, -20), 'error'],
      [flipped, 'error'],
    ]
  }
})

describe('dumps in SQL', () => {
  const DUMP = '--\n-- PostgreSQL database dump\n--\n\nSELECT 1;\n\n--\n-- PostgreSQL database dump complete\n--\n\n'
  const GLOBALS = DUMP.replaceAll('database dump', 'database cluster dump')

  test.for([
    ['a.sql', DUMP, 'ok'],
    ['a.sql', DUMP.replace('SELECT 1;', '\\restrict abc\n').replace(/\n$/, '\\unrestrict abc\n\n'), 'ok'],
    ['a.globals.sql', GLOBALS, 'ok'],
    ['a.sql', GLOBALS, 'error'],
    ['a.globals.sql', DUMP, 'error'],
    ['a.sql', DUMP.slice(0, -20), 'error'],
    ['a.sql', `${DUMP}DROP TABLE task;\n`, 'error'],
    ['a.sql', DUMP.slice(4), 'error'],
    ['a.sql', '', 'error'],
    ['a.txt', DUMP, 'error'],
  ] as const)('%s: %j is %s', async ([name, text, severity]) => {
    for (const pieceBytes of [3, 65_536])
      expect(await inspect(name, Buffer.from(text), pieceBytes)).toMatch(new RegExp(`^${severity}`))
  })
})

const why = whyNoLogical()
let server: TestServer

describe.skipIf(why !== undefined)(`dumps of the real programs${why === undefined ? '' : `: ${why}`}`, () => {
  let databases: Databases
  beforeAll(async () => {
    server = await startSharedServer()
    databases = await Databases.make(server, {
      sql: `CREATE TABLE task AS SELECT i AS id, 'task ' || i AS title FROM generate_series(1, 5000) i;
        CREATE VIEW v AS SELECT * FROM task; CREATE TABLE empty (); SELECT lo_from_bytea(0, 'abc')`,
    })
  })
  afterAll(async () => {
    await databases?.destroy()
    await server?.destroy()
  })
  const dump = (...args: string[]): Buffer =>
    execFileSync(`${clientPrograms()?.folder}/pg_dump`, args, {
      env: { PGHOST: server.folder, PGUSER: 'postgres', PGPASSWORD: PASSWORD, PGDATABASE: databases.live },
      maxBuffer: 1e9,
    })

  test('compressed by pg_dump: inflated, and a flip in the data found', async () => {
    for (const level of ['-Z0', '-Z6']) {
      const bytes = dump('--format=custom', level)
      expect(await readCustomFormat(Readable.from([bytes]))).toMatchObject({ tables: 2, largeObjects: 1 })
    }
    const bytes = dump('--format=custom', '-Z6')
    const flipped = Buffer.from(bytes)
    const middle = bytes.length - 5_000 // within the data of `task`
    flipped[middle] = (bytes[middle] as number) ^ 4
    expect(await inspect('a.dump', flipped)).toMatch(/^error: .*cannot be inflated/)
  })

  test('a tar of the directory format with a file too few, too many, or twice', async () => {
    const folder = `${databases.folder}/directory`
    execFileSync(`${clientPrograms()?.folder}/pg_dump`, ['--format=directory', '-Z0', `--file=${folder}`], {
      env: { PGHOST: server.folder, PGUSER: 'postgres', PGPASSWORD: PASSWORD, PGDATABASE: databases.live },
    })
    const files = readdirSync(folder).sort((a, b) => place(a) - place(b))
    const tarOf = async (names: readonly string[]): Promise<Buffer> => {
      const tar = pack()
      for (const name of names) tar.entry({ name }, name.includes('/') ? 'x' : readFileSync(`${folder}/${name}`))
      tar.finalize()
      const pieces: Buffer[] = []
      for await (const piece of tar) pieces.push(piece as Buffer)
      return Buffer.concat(pieces)
    }
    const whole = await tarOf(files)
    expect(await inspect('a.directory.tar', whole)).toMatch(/^ok/)
    for (const left of files)
      expect(await inspect('a.directory.tar', await tarOf(files.filter((name) => name !== left))), left).toMatch(
        /^error/,
      )
    expect(await inspect('a.directory.tar', await tarOf([...files, '../evil']))).toMatch(/^error/)
    expect(await inspect('a.directory.tar', await tarOf([...files, files.at(-1) as string]))).toMatch(/^error/)
    for (let length = 0; length < whole.length; length += 512)
      expect(await inspect('a.directory.tar', whole.subarray(0, length)), String(length)).toMatch(/^error/)
  })
})

const place = (name: string): number => (name === 'toc.dat' ? 0 : name.endsWith('.toc') ? 1 : 2)
