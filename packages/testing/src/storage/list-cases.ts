import assert from 'node:assert/strict'
import type { Storage } from '@taskflow-backup/core'
import { collect, patterned, readAll, streamOf } from '../bytes.ts'
import { rejects } from '../expect.ts'
import { storageCase } from './subject.ts'

const keysOf = async (storage: Storage, prefix: string): Promise<string[]> =>
  (await collect(storage.list(prefix))).map(({ key }) => key)

const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))

// `-` and `.` come before `/`, digits and letters after it: sorting folder by folder gives another order.
const TRAPS = ['a/x', 'a-b/x', 'a.b/x', 'a0/x', 'a-b.json', 'ab', 'a/x-y', 'a/z/y', 'B/x', '_/x', 'a-/z']

const BAD_KEYS: readonly [string, string][] = [
  ['', 'nothing'],
  ['/a', 'an absolute path'],
  ['a//b', 'an empty segment'],
  ['a/', 'an empty last segment'],
  ['..', 'the folder above'],
  ['../a', 'a path that leaves the storage'],
  ['a/../../b', 'a path that leaves the storage'],
  ['a/./b', 'a dot segment'],
  ['.hidden', 'a leading dot'],
  ['a\0b', 'a NUL'],
  ['a\\b', 'a backslash'],
  ['C:/a', 'a drive'],
  ['a b', 'a space'],
  ['a\nb', 'a line break'],
  ['ä', 'a letter outside of ASCII'],
  ['a%2e%2e', 'a percent sign'],
  ['-rf', 'a leading dash'],
  ['a.', 'a trailing dot'],
  ['con', 'a device of Windows'],
  ['x/NUL.txt', 'a device of Windows'],
  ['lpt1', 'a device of Windows'],
  ['a'.repeat(201), 'a segment that is too long'],
  [Array.from({ length: 10 }, () => 'a').join('/'), 'too many segments'],
]

export const listCases = [
  storageCase('list gives every object below a prefix', 'leaves objects out or shows foreign ones', async (storage) => {
    const keys = ['p/a/1', 'p/a/2', 'p/b/1', 'p/c', 'q/a/1', 'pp/a']
    for (const [index, key] of keys.entries()) await storage.put(key, patterned(index))
    assert.deepEqual(await keysOf(storage, 'p/'), ['p/a/1', 'p/a/2', 'p/b/1', 'p/c'])
    assert.deepEqual(await keysOf(storage, 'p/a/'), ['p/a/1', 'p/a/2'])
    assert.deepEqual(await keysOf(storage, ''), [...keys].sort(byBytes))
    assert.deepEqual(await keysOf(storage, 'nothing/'), [])
    const found = (await collect(storage.list('p/'))).map(({ key, sizeBytes }) => [key, sizeBytes])
    assert.deepEqual(found, [
      ['p/a/1', 0],
      ['p/a/2', 1],
      ['p/b/1', 2],
      ['p/c', 3],
    ])
    for await (const { modifiedAt } of storage.list('')) assert.ok(modifiedAt instanceof Date)
  }),
  storageCase('list after a key leaves out nothing behind it', 'leaves objects out', async (storage) => {
    for (const key of TRAPS) await storage.put(key, patterned(1))
    for (const after of [...TRAPS, 'a', 'a/', 'a0', 'a/z', 'b']) {
      const found = (await collect(storage.list('a', { after }))).map(({ key }) => key)
      const wanted = TRAPS.filter((key) => key.startsWith('a') && key > after).sort(byBytes)
      assert.deepEqual(
        found.filter((key) => key > after),
        wanted,
      )
      assert.deepEqual(found, [...found].sort(byBytes))
    }
  }),
  storageCase('list is in ascending order of whole keys', 'sorts folder by folder, or not at all', async (storage) => {
    for (const key of [...TRAPS].reverse()) await storage.put(key, patterned(1))
    assert.deepEqual(await keysOf(storage, ''), [...TRAPS].sort(byBytes))
    assert.deepEqual(await keysOf(storage, 'a'), TRAPS.filter((key) => key.startsWith('a')).sort(byBytes))
  }),
  storageCase(
    'list takes prefixes that end in the middle of a segment',
    'lists only whole folders',
    async (storage) => {
      for (const key of TRAPS) await storage.put(key, patterned(1))
      for (const prefix of ['a', 'a-', 'a.b', 'a/x', 'a/x-', 'a-b.j', 'a0/x', 'a0/xx']) {
        assert.deepEqual(
          await keysOf(storage, prefix),
          TRAPS.filter((key) => key.startsWith(prefix)).sort(byBytes),
          prefix,
        )
      }
    },
  ),
  storageCase('list shows every put and delete at once', 'lags behind puts or deletes', async (storage) => {
    for (let round = 0; round < 10; round++) {
      await storage.put(`p/${round}`, patterned(round))
      assert.ok((await keysOf(storage, 'p/')).includes(`p/${round}`), 'an object is not listed after its put')
      if (round % 2 === 0) continue
      await storage.delete(`p/${round}`)
      assert.ok(!(await keysOf(storage, 'p/')).includes(`p/${round}`), 'an object is listed after its delete')
    }
    await storage.put('p/0', patterned(77))
    assert.equal((await collect(storage.list('p/0')))[0]?.sizeBytes, 77, 'the size before the replacement is listed')
  }),
  storageCase('list gives more keys than one page', 'stops after a page of keys', async (storage) => {
    const keys = Array.from({ length: 1500 }, (_, index) => `many/${index % 13}/k${index}`)
    for (let at = 0; at < keys.length; at += 50) {
      await Promise.all(keys.slice(at, at + 50).map((key) => storage.put(key, patterned(1))))
    }
    assert.deepEqual(await keysOf(storage, 'many/'), keys.sort(byBytes))
  }),
  storageCase(
    'a listing can be given up in the middle',
    'fails when a listing is not read to its end',
    async (storage) => {
      for (let index = 0; index < 50; index++) await storage.put(`p/${index}`, patterned(1))
      let seen = 0
      for await (const _ of storage.list('p/')) if (++seen === 3) break
      assert.equal((await keysOf(storage, 'p/')).length, 50)
    },
  ),
  ...BAD_KEYS.map(([key, what], index) =>
    storageCase(
      `a key with ${what} is refused (${index + 1})`,
      'lets a key reach what it must not',
      async (storage) => {
        const body = streamOf(patterned(10))
        await rejects(storage.put(key, body), `put of ${JSON.stringify(key)}`, 'KEY_INVALID')
        assert.ok(body.destroyed, 'the body of a refused put is not destroyed')
        await rejects(storage.put(key, patterned(10)), `put of ${JSON.stringify(key)}`, 'KEY_INVALID')
        await rejects(storage.get(key), `get of ${JSON.stringify(key)}`, 'KEY_INVALID')
        await rejects(storage.stat(key), `stat of ${JSON.stringify(key)}`, 'KEY_INVALID')
        await rejects(storage.delete(key), `delete of ${JSON.stringify(key)}`, 'KEY_INVALID')
        assert.deepEqual(await keysOf(storage, ''), [], 'the refused put left something')
      },
    ),
  ),
  storageCase(
    'a prefix that is no begin of a key is refused',
    'lists what lies outside of the storage',
    async (storage) => {
      for (const prefix of ['../', '/', 'a//', 'a/../', '.', 'a\0', 'a\\', '..']) {
        await rejects(collect(storage.list(prefix)), `list of ${JSON.stringify(prefix)}`, 'KEY_INVALID')
      }
    },
  ),
  storageCase('the longest key is taken', 'takes less than the contract promises', async (storage) => {
    const key = [...Array.from({ length: 8 }, () => 'k'.repeat(20)), 'k'.repeat(200)].join('/')
    await storage.put(key, patterned(5))
    assert.ok((await readAll(await storage.get(key))).equals(patterned(5)))
    assert.deepEqual(await keysOf(storage, key.slice(0, 30)), [key])
  }),
  storageCase('describe tells where, without a secret', 'shows a secret', async (storage, { secrets = [] }) => {
    const text = storage.describe()
    assert.ok(typeof text === 'string' && text.length > 0, 'describe says nothing')
    for (const secret of secrets) assert.ok(!text.includes(secret), 'describe shows a secret')
  }),
  storageCase('no error shows a secret', 'shows a secret in an error', async (storage, { secrets = [] }) => {
    const error = await rejects(storage.get('no/such/object'), 'get')
    const text = `${error.message} ${JSON.stringify(error)} ${error.stack}`
    for (const secret of secrets) assert.ok(!text.includes(secret), 'an error shows a secret')
  }),
  storageCase('capabilities are stated', 'leaves it open what it can do', async (storage) => {
    assert.equal(typeof storage.capabilities.conditionalPut, 'boolean')
    assert.equal(storage.capabilities.readOnly, false, 'a storage that these cases run against can be written')
  }),
]
