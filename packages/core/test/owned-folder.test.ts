import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { folderOwner, isAbandonedFolder, makeOwnedFolder, ownIdentity } from '../src/index.ts'

let place: string
beforeAll(async () => {
  place = await fs.mkdtemp(join(tmpdir(), 'owned-'))
})
afterAll(() => fs.rm(place, { recursive: true }))

/** A folder as somebody else would have left it. */
async function left(name: string, owner: object | undefined, ageHours: number): Promise<string> {
  const path = join(place, name)
  await makeOwnedFolder(path)
  const file = join(path, 'owner.json')
  if (owner) await fs.writeFile(file, JSON.stringify({ ...(await ownIdentity()), ...owner }))
  else await fs.rm(file)
  const at = new Date(Date.now() - ageHours * 3_600_000)
  if (owner) await fs.utimes(file, at, at)
  await fs.utimes(path, at, at)
  return path
}

test('is closed to others, and says whose it is and what it was given', async () => {
  const path = join(place, 'mine')
  await makeOwnedFolder(path, { server: 'here' })
  expect((await fs.stat(path)).mode & 0o777).toBe(0o700)
  expect(await fs.readdir(path)).toEqual(['owner.json'])
  expect((await fs.stat(join(path, 'owner.json'))).mode & 0o777).toBe(0o600)
  expect(await folderOwner(path)).toEqual({ ...(await ownIdentity()), server: 'here' })
  expect(await isAbandonedFolder(path)).toBe(false)
})

test('that cannot be made is an error, and one that is there is left alone', async () => {
  const path = join(place, 'there')
  await fs.mkdir(path)
  await expect(makeOwnedFolder(path)).rejects.toMatchObject({ code: 'TARGET_INVALID', hint: expect.any(String) })
  await expect(makeOwnedFolder(join(path, 'none', 'new'))).rejects.toMatchObject({ code: 'TARGET_INVALID' })
  expect(await fs.readdir(path)).toEqual([])
})

test.each([
  ['of a process that has ended', { pid: 2 ** 22 + 1 }, 0, true],
  ['of this process, however old', {}, 48, false],
  ['of another boot', { realm: 'another boot' }, 1, false],
  ['of another boot, a day ago', { realm: 'another boot' }, 25, true],
  ['of nobody', undefined, 1, true],
  ['of nobody yet', undefined, 0, false],
])('%s', async (name, owner, ageHours, abandoned) => {
  expect(await isAbandonedFolder(await left(name, owner, ageHours))).toBe(abandoned)
})

test('what is no folder, or is not there, is not abandoned', async () => {
  const file = join(place, 'file')
  await fs.writeFile(file, '')
  await fs.utimes(file, 0, 0)
  expect(await isAbandonedFolder(file)).toBe(false)
  expect(await isAbandonedFolder(join(place, 'none'))).toBe(false)
  expect(await folderOwner(join(place, 'none'))).toBeUndefined()
})

test('one whose owner cannot be read is not abandoned, however old', async () => {
  const path = await left('unreadable', undefined, 0)
  await fs.mkdir(join(path, 'owner.json')) // as one that may not be read: neither missing nor damaged
  await fs.utimes(path, 0, 0)
  expect(await isAbandonedFolder(path)).toBe(false)
})

test("another user's is never abandoned, whatever it says", async ({ skip }) => {
  skip(process.getuid?.() !== 0, 'only root can give a folder to another user')
  const dead = { pid: 2 ** 22 + 1 }
  const [owned, ownerless, given] = [
    await left('foreign', dead, 48),
    await left('foreign-ownerless', undefined, 48),
    await left('given', dead, 0),
  ]
  for (const path of [owned, join(owned, 'owner.json'), ownerless, given]) await fs.chown(path, 12_345, 12_345)
  expect(await isAbandonedFolder(owned)).toBe(false)
  expect(await isAbandonedFolder(ownerless)).toBe(false)
  expect(await isAbandonedFolder(given)).toBe(true)
})
