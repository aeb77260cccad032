import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { pack } from 'tar-stream'
import { describe, expect, test } from 'vitest'
import { CRC32C_START, finishCrc32c, updateByTables, updateCrc32c } from '../src/physical/crc32c.ts'
import { type ManifestFile, ManifestScanner } from '../src/physical/manifest-scanner.ts'
import { TarScanner } from '../src/physical/tar-scanner.ts'

/** Feeds `bytes` in pieces of the given sizes, over and over. */
function feed(scanner: { update(bytes: Uint8Array): void }, bytes: Buffer, sizes: readonly number[]): void {
  for (let at = 0, index = 0; at < bytes.length; index++) {
    const size = sizes[index % sizes.length] as number
    scanner.update(bytes.subarray(at, at + size))
    at += size
  }
}

const someSizes = fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1, maxLength: 5 })

interface File {
  readonly name: string
  readonly content: Uint8Array
}

async function tarOf(files: readonly File[]): Promise<Buffer> {
  const tar = pack()
  for (const { name, content } of files) tar.entry({ name }, Buffer.from(content))
  tar.finalize()
  const pieces: Buffer[] = []
  for await (const piece of tar) pieces.push(piece as Buffer)
  return Buffer.concat(pieces)
}

function scanTar(bytes: Buffer, sizes: readonly number[]): File[] {
  const files: { name: string; pieces: Buffer[] }[] = []
  let ended = 0
  const scanner = new TarScanner('x.tar', {
    onEntry: ({ name }) => files.push({ name, pieces: [] }),
    onContent: (piece) => files.at(-1)?.pieces.push(Buffer.from(piece)),
    onEntryEnd: () => ended++,
  })
  feed(scanner, bytes, sizes)
  scanner.end()
  expect(ended).toBe(files.length)
  expect(scanner.entries).toBe(files.length)
  return files.map(({ name, pieces }) => ({ name, content: Buffer.concat(pieces) }))
}

const someFiles = fc.array(
  fc.record({
    name: fc.stringMatching(/^[a-z]{1,20}(\/[a-z]{1,60}){0,2}$/),
    content: fc.uint8Array({ maxLength: 1500 }),
  }),
  { maxLength: 5 },
)

describe('TarScanner', () => {
  test('reads what another program wrote, in pieces of any size', () =>
    fc.assert(
      fc.asyncProperty(someFiles, someSizes, async (files, sizes) => {
        const found = scanTar(await tarOf(files), sizes)
        expect(found.map(({ name }) => name)).toEqual(files.map(({ name }) => name))
        for (const [index, { content }] of found.entries())
          expect(Buffer.compare(content, files[index]?.content as Uint8Array)).toBe(0)
      }),
      { numRuns: 100 },
    ))

  test('refuses a tar that is cut anywhere', async () => {
    const bytes = await tarOf([
      { name: 'one', content: Buffer.alloc(700, 1) },
      { name: 'two', content: Buffer.alloc(0) },
    ])
    for (let end = 0; end < bytes.length; end += 1) {
      if (end === bytes.length) continue
      expect(() => scanTar(bytes.subarray(0, end), [512]), `cut at ${end}`).toThrow('ends too early')
    }
  })

  test('refuses any changed byte of a header, and anything behind the end', async () => {
    const bytes = await tarOf([{ name: 'one', content: Buffer.alloc(10, 1) }])
    for (let at = 0; at < 512; at++) {
      const damaged = Buffer.from(bytes)
      damaged[at] = (damaged[at] as number) ^ 1
      // The checksum's own field ends in characters that do not count.
      if (at === 154 || at === 155) continue
      expect(() => scanTar(damaged, [512]), `byte ${at}`).toThrow(expect.objectContaining({ code: 'MEMBER_DAMAGED' }))
    }
    expect(() => scanTar(Buffer.concat([bytes, bytes]), [512])).toThrow('something follows')
  })
})

const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex')

/** As PostgreSQL 17 writes it. */
function manifestOf(files: readonly ManifestFile[]): Buffer {
  const lines = files.map(
    ({ path, sizeBytes, algorithm, checksum }) =>
      `{ "Path": ${JSON.stringify(path)}, "Size": ${sizeBytes}, "Last-Modified": "2026-11-22 20:39:10 GMT", "Checksum-Algorithm": "${algorithm}", "Checksum": "${checksum}" }`,
  )
  const text = `{ "PostgreSQL-Backup-Manifest-Version": 2,
"System-Identifier": 7711103297603125500,
"Files": [
${lines.join(',\n')}
],
"WAL-Ranges": [
{ "Timeline": 1, "Start-LSN": "0/3000028", "End-LSN": "0/3000120" }
],
`
  return Buffer.from(`${text}"Manifest-Checksum": "${sha256(text)}"}\n`)
}

const FILES: ManifestFile[] = [
  { path: 'PG_VERSION', sizeBytes: 3, algorithm: 'SHA256', checksum: sha256('17\n') },
  { path: 'base/1/INCREMENTAL.1234', sizeBytes: 8192, algorithm: 'CRC32C', checksum: '839206e3' },
]

describe('ManifestScanner', () => {
  test('reads every file and the frame, in pieces of any size', () => {
    const bytes = manifestOf(FILES)
    fc.assert(
      fc.property(someSizes, (sizes) => {
        const found: ManifestFile[] = []
        const scanner = new ManifestScanner('m', (file) => found.push(file))
        feed(scanner, bytes, sizes)
        expect(scanner.end()).toEqual({
          files: 2,
          fileBytes: 8195,
          systemIdentifier: '7711103297603125500',
          walRanges: [{ timeline: 1, startLsn: '0/3000028', endLsn: '0/3000120' }],
        })
        expect(found).toEqual(FILES)
      }),
      { numRuns: 50 },
    )
  })

  test('reads the path of a name that is no text', () => {
    const bytes = manifestOf(FILES)
    const text = bytes.toString().replace('"Path": "PG_VERSION"', '"Encoded-Path": "62ff"')
    const body = text.slice(0, text.lastIndexOf('"Manifest-Checksum"'))
    const paths: string[] = []
    const scanner = new ManifestScanner('m', ({ path }) => paths.push(path))
    scanner.update(Buffer.from(`${body}"Manifest-Checksum": "${sha256(body)}"}\n`))
    scanner.end()
    expect(paths[0]).toBe('b\xff')
  })

  test('refuses a checksum that is none, and an algorithm that was not asked for', () => {
    const [file] = FILES as [ManifestFile]
    const bad = [
      { checksum: '' },
      { checksum: sha256('').slice(1) },
      { checksum: `${sha256('').slice(1)}x` },
      { algorithm: 'CRC32C' as const },
      { algorithm: 'SHA512' as 'SHA256' },
      { algorithm: 'toString' as 'SHA256' },
    ]
    for (const change of bad) {
      const scanner = new ManifestScanner('m')
      const text = manifestOf([{ ...file, ...change }])
      expect(() => scanner.update(text), JSON.stringify(change)).toThrow('it describes a file badly')
    }
  })

  test('refuses any changed bit and any cut', () => {
    const bytes = manifestOf(FILES)
    const attempt = (damaged: Buffer): void => {
      const scanner = new ManifestScanner('m')
      scanner.update(damaged)
      scanner.end()
    }
    attempt(bytes)
    for (let at = 0; at < bytes.length; at++) {
      const damaged = Buffer.from(bytes)
      damaged[at] = (damaged[at] as number) ^ 1
      expect(() => attempt(damaged), `byte ${at}`).toThrow(expect.objectContaining({ code: 'MEMBER_DAMAGED' }))
      expect(() => attempt(bytes.subarray(0, at)), `cut at ${at}`).toThrow('ends too early')
    }
    expect(() => attempt(Buffer.concat([bytes, Buffer.from('x\n')]))).toThrow('something follows')
  })
})

describe.each([
  ['natively', updateCrc32c],
  ['by tables', updateByTables],
] as const)('CRC-32C, %s', (_, update) => {
  const crcOf = (bytes: Uint8Array): number => finishCrc32c(update(CRC32C_START, bytes))

  test('gives the published values', () => {
    expect(crcOf(Buffer.from('123456789'))).toBe(0xe3069283)
    expect(crcOf(Buffer.alloc(32))).toBe(0x8a9136aa)
    expect(crcOf(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43)
    expect(crcOf(Buffer.from(Array.from({ length: 32 }, (_, index) => index)))).toBe(0x46dd794e)
  })

  test('is the same for bytes in two pieces', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1000 }), fc.nat(1000), (bytes, at) => {
        const first = update(CRC32C_START, bytes.subarray(0, at))
        expect(finishCrc32c(update(first, bytes.subarray(at)))).toBe(crcOf(bytes))
      }),
    )
  })
})

test('CRC-32C is the same natively and by tables', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 5000 }), fc.nat(20), fc.integer(), (bytes, at, state) => {
      const part = bytes.subarray(at)
      expect(updateCrc32c(state, part)).toBe(updateByTables(state, part))
    }),
  )
})
