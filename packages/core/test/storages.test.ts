import { execFile } from 'node:child_process'
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { brokenStream, collect, faulty, ledger, patterned, readAll, streamOf } from '../../testing/src/index.ts'
import {
  createBackup,
  defineBackupPlan,
  directory,
  listBackups,
  memory,
  readOnly,
  verifyBackup,
  withRetry,
} from '../src/index.ts'
import { codeOf } from './support/text.ts'

let folder: string
beforeEach(async () => {
  folder = await fs.mkdtemp(join(tmpdir(), 'storages-'))
})
afterEach(() => fs.rm(folder, { recursive: true }))

const openFiles = async (): Promise<number> => {
  const names = await fs.readdir('/proc/self/fd').catch(() => [])
  const targets = await Promise.all(names.map((name) => fs.readlink(`/proc/self/fd/${name}`).catch(() => '')))
  return targets.filter((target) => target.startsWith(folder)).length
}

describe('directory', () => {
  test('keeps a long object whole, which the disk takes in parts', async () => {
    const storage = directory(folder)
    const pattern = patterned(1_000_003) // no part begins where a piece does
    const pieces = function* () {
      for (let round = 0; round < 200; round++) yield pattern
    }
    const { bytes } = await storage.put('long', Readable.from(pieces(), { objectMode: false }))
    expect(bytes).toBe(200 * pattern.length)
    const handle = await fs.open(join(folder, 'long'))
    try {
      const found = Buffer.alloc(pattern.length)
      for (let round = 0; round < 200; round++) {
        await handle.read(found, 0, found.length, round * found.length)
        if (!found.equals(pattern)) throw new Error(`differs in round ${round}`)
      }
    } finally {
      await handle.close()
    }
  })

  test('does not keep a file open when a long put fails', async () => {
    const storage = directory(folder)
    const piece = patterned(1024 * 1024)
    const pieces = function* () {
      for (let round = 0; round < 130; round++) yield piece
      throw new Error('source failed')
    }
    expect(await codeOf(storage.put('long', Readable.from(pieces(), { objectMode: false })))).toBe('STORAGE_FAILED')
    expect(await openFiles()).toBe(0)
    expect(await fs.readdir(folder)).toEqual([])
  })

  test('gives files mode 0600 and folders 0700', async () => {
    const storage = directory(join(folder, 'root'))
    await storage.put('a/b/c.txt', patterned(3))
    const modes = await Promise.all(
      ['root', 'root/a', 'root/a/b', 'root/a/b/c.txt'].map(
        async (path) => (await fs.stat(join(folder, path))).mode & 0o777,
      ),
    )
    expect(modes).toEqual([0o700, 0o700, 0o700, 0o600])
  })

  test('leaves no half-written file after a failed put, and no empty folder after a delete', async () => {
    const storage = directory(folder)
    await codeOf(storage.put('a/b/c', brokenStream(patterned(100_000), new Error('no'))))
    expect(await fs.readdir(join(folder, 'a/b'))).toEqual([])
    await storage.put('a/b/d', patterned(1))
    await storage.delete('a/b/d')
    expect(await fs.readdir(folder)).toEqual([])
  })

  test('fails with a body that fails before it is read', async () => {
    const body = brokenStream(patterned(10))
    const putting = directory(folder).put('a/b', body)
    expect(body.listenerCount('error')).toBe(1) // without one the error would end the application
    body.destroy(new Error('too early'))
    await expect(putting).rejects.toMatchObject({
      code: 'STORAGE_FAILED',
      message: expect.stringContaining('too early'),
    })
    expect(await fs.readdir(join(folder, 'a'))).toEqual([])
  })

  test('keeps no file open, whatever becomes of a read', async () => {
    const storage = directory(folder)
    await storage.put('a', streamOf(patterned(4_000_000)))
    const aborter = new AbortController()
    ;(await storage.get('a')).destroy()
    for await (const _ of await storage.get('a')) break
    await readAll(await storage.get('a', { range: { offset: 5_000_000 } }))
    const aborted = await storage.get('a', { signal: aborter.signal })
    aborter.abort()
    await codeOf(readAll(aborted))
    ;(await withRetry(storage).get('a')).destroy()
    await expect.poll(openFiles).toBe(0)
  })

  test('treats folders and what lies below files as missing', async () => {
    const storage = directory(folder)
    await storage.put('a/b', patterned(5))
    for (const key of ['a', 'a/b/c']) {
      expect(await storage.stat(key)).toBeUndefined()
      expect(await codeOf(storage.get(key))).toBe('OBJECT_MISSING')
      expect(await codeOf(storage.delete(key))).toBeUndefined()
    }
    expect(await collect(storage.list('a/b/'))).toEqual([])
    expect((await storage.stat('a/b'))?.sizeBytes).toBe(5)
  })

  test('lists no foreign files, no links and no special files', async () => {
    const storage = directory(folder)
    await storage.put('a/b', patterned(5))
    for (const name of ['.DS_Store', 'a name', 'ü']) await fs.writeFile(join(folder, 'a', name), 'x')
    await fs.mkdir(join(folder, 'lost+found'))
    await fs.symlink('/etc/passwd', join(folder, 'a', 'link'))
    expect((await collect(storage.list(''))).map(({ key }) => key)).toEqual(['a/b'])
  })

  test('lists a missing root as empty', async () => {
    expect(await collect(directory(join(folder, 'nowhere')).list(''))).toEqual([])
  })

  test('tells when there is no room', async (context) => {
    const mount = join(folder, 'small')
    await fs.mkdir(mount)
    const run = promisify(execFile)
    const mounted = await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', mount]).then(
      () => true,
      () => false,
    )
    if (!mounted) return context.skip('a small file system can only be mounted by root')
    try {
      const storage = directory(mount)
      await storage.put('old', patterned(1000))
      expect(await codeOf(storage.put('new', streamOf(patterned(3_000_000))))).toBe('STORAGE_FULL')
      expect(await codeOf(storage.put('old', streamOf(patterned(3_000_000))))).toBe('STORAGE_FULL')
      expect((await readAll(await storage.get('old'))).equals(patterned(1000))).toBe(true)
      expect((await collect(storage.list(''))).map(({ key }) => key)).toEqual(['old'])
      const source = ledger()
      for (let count = 0; count < 500; count++) source.append(patterned(3000, count).toString('base64'))
      const other = memory()
      const destinations = [{ name: 'small', storage, required: false }, other]
      const plan = defineBackupPlan({ name: 'books', adapter: source.adapter, destinations })
      const { id, destinations: outcomes } = await createBackup(plan)
      expect(outcomes[0]?.error?.code).toBe('STORAGE_FULL')
      expect((await listBackups(plan)).backups[0]?.destinations).toEqual(['destination-2'])
      await verifyBackup(plan, { id, level: 'restored' })
      const strict = defineBackupPlan({ name: 'books', adapter: source.adapter, destinations: [storage] })
      expect(await codeOf(createBackup(strict))).toBe('DESTINATION_FAILED')
      expect((await listBackups(strict)).backups).toEqual([])
    } finally {
      await run('umount', ['-l', mount])
    }
  })
})

describe('withRetry', () => {
  test('goes on where a read broke off, byte for byte', async () => {
    const bytes = patterned(300_000)
    const inner = memory()
    await inner.put('a', bytes)
    const offsets = fc.array(fc.integer({ min: 0, max: 120_000 }), { maxLength: 8 })
    await fc.assert(
      fc.asyncProperty(
        offsets,
        fc.integer({ min: 0, max: 300_000 }),
        fc.option(fc.integer({ min: 0, max: 300_000 })),
        async (breaks, offset, length) => {
          const plan = breaks.map(
            (at, index) => ({ kind: 'error', after: true, retryable: true, at, when: index + 1 }) as const,
          )
          const storage = withRetry(faulty(inner, { plan }), { attempts: 20, firstDelayMs: 0 })
          const found = await readAll(await storage.get('a', { range: { offset, ...(length !== null && { length }) } }))
          expect(found.equals(bytes.subarray(offset, length === null ? undefined : offset + length))).toBe(true)
        },
      ),
      { numRuns: 60 },
    )
  })

  test.each(['put', 'get', 'stat', 'list', 'delete'] as const)(
    'tries %s again as often as it may',
    async (operation) => {
      const work = (storage: ReturnType<typeof memory>): Promise<unknown> =>
        ({
          put: () => storage.put('a', patterned(9)),
          get: async () => readAll(await storage.get('a')),
          stat: () => storage.stat('a'),
          list: () => collect(storage.list('')),
          delete: () => storage.delete('a'),
        })[operation]()
      for (const [failures, code] of [
        [2, undefined],
        [3, 'STORAGE_FAILED'],
      ] as const) {
        const inner = memory()
        await inner.put('a', patterned(5))
        const counted = faulty(inner, {
          plan: [{ kind: 'error', retryable: true, when: ({ number }) => number <= failures }],
        })
        expect(await codeOf(work(withRetry(counted, { attempts: 3, firstDelayMs: 0 })))).toBe(code)
        expect(counted.calls).toHaveLength(3)
      }
      const hard = faulty(memory(), { plan: [{ kind: 'error', when: 1 }] })
      expect(await codeOf(work(withRetry(hard, { attempts: 3, firstDelayMs: 0 })))).toBe('STORAGE_FAILED')
      expect(hard.calls).toHaveLength(1)
    },
  )

  test('tries a put of a stream once', async () => {
    const counted = faulty(memory(), { plan: [{ kind: 'error', retryable: true, when: 1 }] })
    expect(await codeOf(withRetry(counted).put('a', streamOf(patterned(5))))).toBe('STORAGE_FAILED')
    expect(counted.calls).toHaveLength(1)
  })

  test('a listing that breaks off has no gap and nothing twice', async () => {
    const inner = memory()
    for (let index = 100; index < 160; index++) await inner.put(`k${index}`, patterned(1))
    const storage = withRetry(faulty(inner, { plan: [{ kind: 'error', after: true, retryable: true, when: 1 }] }), {
      firstDelayMs: 0,
    })
    const keys = (await collect(storage.list('k'))).map(({ key }) => key)
    expect(keys).toEqual(Array.from({ length: 60 }, (_, index) => `k${index + 100}`))
  })

  test('an abort ends the pause', async () => {
    const storage = withRetry(faulty(memory(), { plan: [{ kind: 'error', retryable: true, when: () => true }] }), {
      firstDelayMs: 60_000,
    })
    const aborter = new AbortController()
    setTimeout(() => aborter.abort(), 20)
    expect(await codeOf(storage.get('a', { signal: aborter.signal }))).toBe('ABORTED')
  })
})

test('readOnly tells so, and lets the body of a put go', async () => {
  const storage = readOnly(memory('archive'))
  const body = streamOf(patterned(5))
  expect(await codeOf(storage.put('a', body))).toBe('STORAGE_READ_ONLY')
  expect(body.destroyed).toBe(true)
  expect(storage.describe()).toBe('archive (read-only)')
})
