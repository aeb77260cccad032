import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { pack } from 'tar-stream'
import { describe, expect, test } from 'vitest'
import { FileCheck } from '../src/child/file-check.ts'
import { type ChecksumAlgorithm, fileChecksum, preferredAlgorithm } from '../src/physical/file-checksum.ts'

type Files = Readonly<Record<string, string>>

async function tarOf(files: Files): Promise<Buffer> {
  const tar = pack()
  for (const [name, content] of Object.entries(files)) tar.entry({ name }, content)
  tar.finalize()
  return Buffer.concat((await Readable.from(tar).toArray()) as Buffer[])
}

function manifestOf(files: Files, algorithm: ChecksumAlgorithm): Buffer {
  const lines = Object.entries(files).map(([path, content]) => {
    const checksum = fileChecksum(algorithm)
    checksum.update(Buffer.from(content))
    return `{ "Path": "${path}", "Size": ${Buffer.byteLength(content)}, "Checksum-Algorithm": "${algorithm}", "Checksum": "${checksum.digest()}" }`
  })
  const text = `{ "PostgreSQL-Backup-Manifest-Version": 1,\n"Files": [\n${lines.join(',\n')}\n],\n"WAL-Ranges": [\n],\n`
  const sum = createHash('sha256').update(text).digest('hex')
  return Buffer.from(`${text}"Manifest-Checksum": "${sum}"}\n`)
}

/** What is wrong with files that came, by a manifest. */
async function problemsOf(came: Files, manifest: Buffer, algorithm: ChecksumAlgorithm): Promise<string> {
  const check = new FileCheck(algorithm)
  const tar = check.tar('base.tar', '')
  const bytes = await tarOf(came)
  for (let at = 0; at < bytes.length; at += 700) tar.update(bytes.subarray(at, at + 700))
  tar.end()
  const scanner = check.manifest('backup_manifest')
  scanner.update(manifest)
  try {
    check.finish(scanner.end())
    return ''
  } catch (error) {
    expect(error).toMatchObject({ code: 'SERVER_FAILED', retryable: true })
    return (error as Error).message
  }
}

const LONG = 'x'.repeat(100_000)
const FILES: Files = { PG_VERSION: '17\n', 'base/1/empty': '', 'base/1/2': LONG }

test('is of the algorithm that is fastest here', () => {
  expect(preferredAlgorithm()).toBe('CRC32C') // every machine that runs these tests has the native part
})

describe.each(['CRC32C', 'SHA256'] as const)('files that came, by their %s', (algorithm) => {
  const problems = (came: Files): Promise<string> => problemsOf(came, manifestOf(FILES, algorithm), algorithm)

  test('are taken when they are what the manifest says; segments of the log are in none', async () => {
    expect(await problems({ ...FILES, [`pg_wal/${'0'.repeat(24)}`]: 'log' })).toBe('')
  })

  test('are refused when one is missing, extra, longer or another', async () => {
    const { PG_VERSION, ...fewer } = FILES
    expect(await problems(fewer)).toContain('PG_VERSION did not come')
    expect(await problems({ ...FILES, 'base/1/3': '' })).toContain('base/1/3 is not in the manifest')
    expect(await problems({ ...FILES, 'base/1/empty': '\0' })).toContain('base/1/empty is not what the server read')
    for (const at of [0, 50_001, LONG.length - 1]) {
      const changed = `${LONG.slice(0, at)}y${LONG.slice(at + 1)}`
      expect(await problems({ ...FILES, 'base/1/2': changed })).toContain('base/1/2 is not what the server read')
    }
  })

  test('are refused when the manifest has other checksums than were asked for', async () => {
    const other = algorithm === 'CRC32C' ? 'SHA256' : 'CRC32C'
    expect(await problemsOf(FILES, manifestOf(FILES, other), algorithm)).toContain('is not what the server read')
  })
})
