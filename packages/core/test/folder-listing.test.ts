import { execFile } from 'node:child_process'
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { collect } from '../../testing/src/index.ts'
import { BackupError, directory, type ObjectInfo } from '../src/index.ts'
import { listFolder } from '../src/storage/folder-listing.ts'
import { listInThread } from '../src/storage/listing-thread.ts'

let root: string
beforeEach(async () => {
  root = await fs.mkdtemp(join(tmpdir(), 'listing-'))
})
afterEach(() => fs.rm(root, { recursive: true }))

/** A thread is started after this many objects: the small way throughout, the thread's throughout, and half of each. */
const WAYS = [Number.POSITIVE_INFINITY, 0, 150] as const

const put = async (...keys: string[]): Promise<void> => {
  for (const key of keys) {
    await fs.mkdir(join(root, key, '..'), { recursive: true })
    await fs.writeFile(join(root, key), key)
  }
}
const list = (few: number, folder = '', start = ''): Promise<ObjectInfo[]> =>
  collect(listFolder(root, folder, start, { few }))
/** What a listing is, or all that a caller can see of what it throws. */
const outcome = async (listing: Promise<ObjectInfo[]>): Promise<unknown> =>
  listing.catch((error: unknown) => {
    if (!(error instanceof BackupError) || !(error.cause instanceof Error)) throw error
    const { code, message, retryable, cause } = error
    return { code, message, retryable, cause: { ...cause, message: cause.message } }
  })
/** Live threads of this process; each has a message port. */
const threads = (): number => process.getActiveResourcesInfo().filter((name) => /Worker|MessagePort/.test(name)).length

test('folders that lie before a key are not looked into', async () => {
  await put('p/a/1', 'p/a/2', 'p/b/1', 'p/b/2', 'p/b-1', 'p/c/1')
  for (const few of WAYS) {
    const found = await collect(listFolder(root, 'p/', '', { after: 'p/b/1', few }))
    expect(found.map(({ key }) => key)).toEqual(['p/b/1', 'p/b/2', 'p/c/1'])
  }
})

describe('a large folder is listed by a thread', () => {
  test('precisely as a small one is', async () => {
    await put('p/a-b', 'p/a/b', 'p/a.b', 'p/a/c/d/e', 'p/a0', 'p/lock-1.json', 'p/lock-2.json', 'p/z.partial', 'q')
    for (let at = 0; at < 300; at++) await put(`p/chain-${at}/full/manifest.json`, `p/chain-${at}/full/x.db.zst`)
    // Nothing of this is an object.
    await put('p/a name/x', 'p/ü', 'p/.hidden', 'p/con', 'p/NUL.txt/x', 'p/end.', 'p/chain-7/lost+found/x')
    await fs.mkdir(join(root, 'p/chain-7/empty/empty'), { recursive: true })
    await fs.symlink('/etc/passwd', join(root, 'p/chain-7/link'))
    await fs.symlink(join(root, 'p/chain-8'), join(root, 'p/chain-7/linked'))
    await fs.symlink('nowhere', join(root, 'p/chain-7/full/broken'))
    await promisify(execFile)('mkfifo', [join(root, 'p/chain-7/pipe')])
    for (const [folder, start] of [
      ['', ''],
      ['p/', ''],
      ['p/', 'lock-'],
      ['p/', 'chain-1'],
      ['p/a/', ''],
      ['p/nowhere/', ''],
      ['q/', ''],
    ] as const) {
      const [small, ...others] = await Promise.all(WAYS.map((few) => list(few, folder, start)))
      const keys = small?.map(({ key }) => key) ?? []
      expect(keys).toEqual([...keys].sort())
      for (const other of others) expect(other).toEqual(small)
    }
    const whole = await list(0)
    expect(whole).toHaveLength(9 + 600)
    expect(whole[0]).toEqual(await directory(root).stat('p/a-b'))
  })

  test('through the storage as well', async () => {
    await fs.mkdir(join(root, 'p'))
    await Promise.all(Array.from({ length: 1200 }, (_, at) => fs.writeFile(join(root, 'p', `${at}`), '')))
    expect(await collect(directory(root).list('p/1'))).toEqual(await list(Number.POSITIVE_INFINITY, 'p/', '1'))
    expect(await collect(directory(root).list('p/'))).toHaveLength(1200)
  })

  test('without what vanishes meanwhile', async () => {
    // What was there when the folder was read, and is not when the thread comes to it.
    await put('p/a/full/a', 'p/d')
    const names = ['a/', 'b/', 'c', 'd', 'e/']
    const objects = await collect(listInThread(root, 'p/', names) as AsyncIterable<ObjectInfo>)
    expect(objects.map(({ key }) => key)).toEqual(['p/a/full/a', 'p/d'])
    // A whole folder that goes at any moment.
    for (let at = 0; at < 1500; at++) await put(`q/${1000 + at}/full/a`)
    const keys: string[] = []
    for await (const { key } of listFolder(root, 'q/', '', { few: 0 })) {
      if (keys.length === 0) await fs.rm(join(root, 'q'), { recursive: true })
      keys.push(key)
    }
    expect(keys[0]).toBe('q/1000/full/a')
    expect(keys).toEqual([...new Set(keys)].sort())
  })

  test('with the same errors', async () => {
    // An error that root gets as well: a path that is too long, made of two that are not.
    const long = Array.from({ length: 12 }, () => 'd'.repeat(200)).join('/')
    const far = join(root, 'p/b', long, 'x')
    await put('p/a/x', 'p/c/x', `p/b/${long}/y`, `x/${long}/y`)
    await fs.rename(join(root, 'x'), far)
    try {
      const [small, thread] = await Promise.all([WAYS[0], WAYS[1]].map((few) => outcome(list(few, 'p/'))))
      expect(small).toMatchObject({ code: 'STORAGE_FAILED', cause: { code: 'ENAMETOOLONG', syscall: 'scandir' } })
      expect(thread).toEqual(small)
    } finally {
      await fs.rename(far, join(root, 'x'))
    }
  })

  test('and leaves no thread behind, whatever becomes of the listing', async () => {
    for (let at = 0; at < 500; at++) await put(`p/${at}/full/a`)
    await expect.poll(threads).toBe(0) // the port of one that has ended goes a turn of the event loop later
    await list(0)
    await expect.poll(threads).toBe(0)
    for await (const _ of listFolder(root, 'p/', '', { few: 0 })) {
      expect(threads()).toBeGreaterThan(0)
      break
    }
    await expect.poll(threads).toBe(0)
    const failing = async () => {
      for await (const _ of listFolder(root, 'p/', '', { few: 0 })) throw new Error('no')
    }
    await expect(failing()).rejects.toThrow('no')
    await expect.poll(threads).toBe(0)
  })

  test('and keeps no process alive', async () => {
    for (let at = 0; at < 600; at++) await put(`p/${at}`)
    const program = `
      import { directory } from ${JSON.stringify(new URL('../src/index.ts', import.meta.url).href)}
      let objects = 0
      for await (const _ of directory(process.argv[1]).list('p/')) objects += 1
      for await (const _ of directory(process.argv[1]).list('p/')) break
      // Begun, and then forgotten.
      await directory(process.argv[1]).list('p/')[Symbol.asyncIterator]().next()
      console.log(objects)`
    const run = promisify(execFile)
    const args = ['--input-type=module', '--eval', program, root]
    expect((await run(process.execPath, args, { timeout: 120_000 })).stdout).toBe('600\n')
    // Where threads are not permitted it is done without.
    const allowed = ['--permission', '--allow-fs-read=*', ...args]
    expect((await run(process.execPath, allowed, { timeout: 120_000 })).stdout).toBe('600\n')
  })

  test('and is never taken for whole when the thread ends early', async () => {
    for (let at = 0; at < 500; at++) await put(`p/${at}`)
    const emit = Worker.prototype.emit
    const spy = vi.spyOn(Worker.prototype, 'emit').mockImplementation(function (this: Worker, name, ...rest) {
      if (name === 'message') void this.terminate()
      return (name === 'message' && rest[0].is === 'done') || emit.call(this, name as 'message', ...rest)
    })
    try {
      expect(await outcome(list(0, 'p/'))).toMatchObject({ code: 'STORAGE_FAILED' })
    } finally {
      spy.mockRestore()
    }
  })
})
