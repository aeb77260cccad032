import { spawn } from 'node:child_process'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AdapterContext } from '@taskflow-backup/core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { findServerProgram, findUser, parseServerVersion } from '../src/server/programs.ts'

const ctx = { spawn } as unknown as AdapterContext

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'taskflow-programs-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

async function fake(says: string): Promise<void> {
  await writeFile(join(folder, 'postgres'), `#!/bin/sh\necho '${says}'\n`)
  await chmod(join(folder, 'postgres'), 0o755)
}

test.each([
  ['postgres (PostgreSQL) 17.10', 17],
  ['postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)', 15],
  ['postgres (PostgreSQL) 19devel', 19],
  ['', undefined],
])('the version in %j', (text, major) => {
  expect(parseServerVersion(text)).toBe(major)
})

test('the user postgres is found among the others', () => {
  const passwd =
    'root:x:0:0:root:/root:/bin/bash\npostgresql:x:1:1::/:\npostgres:x:70:71::/var/lib/postgresql:/bin/sh\n'
  expect(findUser(passwd, 'postgres')).toEqual({ uid: 70, gid: 71 })
  expect(findUser(passwd, 'nobody')).toBeUndefined()
})

test.skipIf(process.platform === 'win32')('the program of the right version is taken', async () => {
  await fake('postgres (PostgreSQL) 99.1')
  expect(await findServerProgram(folder, 99, undefined, ctx)).toBe(join(folder, 'postgres'))
})

test.skipIf(process.platform === 'win32')('one of another version is named in the error', async () => {
  await fake('postgres (PostgreSQL) 98.1')
  await expect(findServerProgram(folder, 99, undefined, ctx)).rejects.toMatchObject({
    code: 'PROGRAM_MISSING',
    message: expect.stringContaining('is version 98'),
    hint: expect.stringContaining('postgresql-99'),
  })
})

test('an empty folder is named in the error', async () => {
  await expect(findServerProgram(folder, 17, undefined, ctx)).rejects.toMatchObject({
    code: 'PROGRAM_MISSING',
    message: expect.stringContaining(folder),
  })
})
