import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { BackupError } from '@taskflow-backup/core'
import { type Header, pack } from 'tar-stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { entryPath } from '../src/child/entry-path.ts'
import { type ManifestFiles, unpackTar } from '../src/child/unpack-tar.ts'
import { type ChecksumAlgorithm, fileChecksum } from '../src/physical/file-checksum.ts'

type Entry = readonly [header: Partial<Header> & { name: string }, content?: Buffer | string]

async function tarOf(entries: readonly Entry[]): Promise<Buffer> {
  const tar = pack()
  for (const [header, content] of entries) tar.entry(header, content === undefined ? '' : Buffer.from(content))
  tar.finalize()
  return Buffer.concat((await Readable.from(tar).toArray()) as Buffer[])
}

const listed = (files: Readonly<Record<string, string>>, algorithm: ChecksumAlgorithm = 'CRC32C'): ManifestFiles =>
  new Map(
    Object.entries(files).map(([path, content]) => {
      const checksum = fileChecksum(algorithm)
      checksum.update(Buffer.from(content))
      return [path, { path, sizeBytes: Buffer.byteLength(content), algorithm, checksum: checksum.digest() }]
    }),
  )

describe('unpackTar', () => {
  let outside: string
  let folder: string
  beforeEach(async () => {
    outside = await mkdtemp(join(tmpdir(), 'taskflow-unpack-'))
    folder = join(outside, 'data')
    await mkdir(folder)
  })
  afterEach(() => rm(outside, { recursive: true, force: true }))

  const unpack = (tar: Buffer, files: ManifestFiles, step = 700): Promise<void> =>
    unpackTar(Readable.from(piecesOf(tar, step), { objectMode: false }), {
      folder,
      prefix: '',
      files,
      seen: new Set(),
      owner: undefined,
    })

  test('writes files and folders that only their owner may touch, whatever the archive says', async () => {
    const tar = await tarOf([
      [{ name: 'base', type: 'directory', mode: 0o777 }],
      [{ name: 'base/1', mode: 0o4777 }, 'one'],
      [{ name: 'empty', type: 'directory' }],
      [{ name: 'pg_wal', type: 'directory' }],
      [{ name: 'pg_wal/000000010000000000000001' }, 'a log is in no manifest'],
      [{ name: './two' }, 'x'.repeat(100_000)],
    ])
    await unpack(tar, listed({ 'base/1': 'one', two: 'x'.repeat(100_000) }))
    expect(await readFile(join(folder, 'base/1'), 'utf8')).toBe('one')
    expect((await readFile(join(folder, 'two'), 'utf8')).length).toBe(100_000)
    expect((await stat(join(folder, 'base/1'))).mode & 0o7777).toBe(0o600)
    expect((await stat(join(folder, 'base'))).mode & 0o7777).toBe(0o700)
    expect((await readdir(folder)).sort()).toEqual(['base', 'empty', 'pg_wal', 'two'])
  })

  const HOSTILE: Readonly<Record<string, readonly Entry[]>> = {
    'an absolute path': [[{ name: '/tmp/taskflow-hostile' }, 'x']],
    'a path upwards': [[{ name: '../escaped' }, 'x']],
    'a path upwards in the middle': [[{ name: 'base/../../escaped' }, 'x']],
    'a folder upwards': [[{ name: '../escaped', type: 'directory' }]],
    'an empty part': [[{ name: 'base//1' }, 'x']],
    'a backslash': [[{ name: 'base\\..\\..\\escaped' }, 'x']],
    'a link': [[{ name: 'link', type: 'symlink', linkname: '..' }]],
    'a hard link': [[{ name: 'link', type: 'link', linkname: '/etc/passwd' }]],
    'a device': [[{ name: 'null', type: 'character-device', devmajor: 1, devminor: 3 }]],
    'a pipe': [[{ name: 'pipe', type: 'fifo' }]],
    'a file twice': [
      [{ name: 'one' }, 'x'],
      [{ name: './one' }, 'x'],
    ],
    'a file in the place of a folder': [[{ name: 'one', type: 'directory' }], [{ name: 'one' }, 'x']],
  }
  test.each(Object.keys(HOSTILE))('refuses %s', async (name) => {
    const tar = await tarOf(HOSTILE[name] as readonly Entry[])
    const files = listed({ one: 'x', 'base/1': 'x', escaped: 'x' })
    await expect(unpack(tar, files)).rejects.toMatchObject({ code: 'MEMBER_DAMAGED' })
    expect(await readdir(outside)).toEqual(['data'])
  })

  test('goes through no link: a tablespace is not reached by its name in the archive', async () => {
    await mkdir(join(folder, 'pg_tblspc'))
    await symlink(outside, join(folder, 'pg_tblspc', '1'))
    const tar = await tarOf([
      [{ name: 'pg_tblspc/1', type: 'symlink', linkname: outside }],
      [{ name: 'pg_tblspc/1', type: 'directory' }],
    ])
    await expect(unpack(tar, new Map())).rejects.toThrow(BackupError)
  })

  test.each([
    ['another content', 'onf', 'CRC32C', 'CRC32C'],
    ['another content', 'onf', 'SHA256', 'SHA256'],
    ['another length', 'ones', 'CRC32C', 'bytes'],
  ] as const)('refuses a file of %s (%s) than the manifest says, by its %s', async (_, content, algorithm, why) => {
    const tar = await tarOf([[{ name: 'one' }, content]])
    await unpack(await tarOf([[{ name: 'two' }, 'two']]), listed({ two: 'two' }, algorithm))
    await expect(unpack(tar, listed({ one: 'one' }, algorithm))).rejects.toMatchObject({
      code: 'MEMBER_DAMAGED',
      message: expect.stringContaining(why),
    })
  })

  test('refuses a file that the manifest does not list', async () => {
    const tar = await tarOf([[{ name: 'one' }, 'one']])
    await expect(unpack(tar, new Map())).rejects.toMatchObject({ code: 'MEMBER_DAMAGED' })
  })

  test('refuses an archive that ends anywhere before its end', async () => {
    const tar = await tarOf([
      [{ name: 'one' }, 'one'],
      [{ name: 'two' }, 'x'.repeat(3000)],
    ])
    const files = listed({ one: 'one', two: 'x'.repeat(3000) })
    for (const length of [100, 512, 515, 1024, 1600, 4000]) {
      await rm(folder, { recursive: true })
      await mkdir(folder)
      const cut = unpack(tar.subarray(0, length), files, 300)
      await expect(cut, `${length} bytes`).rejects.toMatchObject({ code: 'MEMBER_DAMAGED' })
    }
  })

  test('a source that fails is the reason for whatever the archive looks like', async () => {
    const tar = await tarOf([[{ name: 'one' }, 'one']])
    const failing = Readable.from(
      (async function* () {
        yield tar.subarray(0, 600)
        throw new BackupError('MEMBER_DAMAGED', 'the member has another hash')
      })(),
    )
    const options = { folder, prefix: '', files: listed({ one: 'one' }), seen: new Set<string>(), owner: undefined }
    await expect(unpackTar(failing, options)).rejects.toThrow('another hash')
  })
})

test('entryPath gives the path below the folder', () => {
  expect(entryPath('base/5/112')).toBe('base/5/112')
  expect(entryPath('./base/5/')).toBe('base/5')
  expect(entryPath('./')).toBe('')
  expect(entryPath('..a/b..')).toBe('..a/b..')
})

function* piecesOf(bytes: Buffer, step: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step)
}
