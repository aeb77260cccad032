import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { directory, memory, readOnly, type Storage, withRetry } from '@taskflow-backup/core'
import { describe, expect, test } from 'vitest'
import { faulty, rejects, runCases, type StorageSubject, storageCases } from '../src/index.ts'

const simple = (make: () => Storage): StorageSubject => ({
  create: async () => ({ storage: make(), destroy: async () => {} }),
})

const inFolder: StorageSubject = {
  async create() {
    const folder = await mkdtemp(join(tmpdir(), 'storage-'))
    return { storage: directory(join(folder, 'not made yet', 'ü')), destroy: () => rm(folder, { recursive: true }) }
  },
}

/** Every third call fails before it begins; a put of a stream cannot be tried again, so those are left alone. */
const unsteady = (): Storage =>
  withRetry(
    faulty(memory(), {
      plan: [
        {
          kind: 'error',
          retryable: true,
          after: true,
          when: ({ operation, number }) => operation === 'get' && number % 3 === 0,
        },
        { kind: 'error', retryable: true, when: ({ operation, number }) => operation !== 'put' && number % 3 === 1 },
      ],
    }),
    { firstDelayMs: 0 },
  )

const SUBJECTS: Record<string, StorageSubject> = {
  memory: simple(memory),
  directory: inFolder,
  'withRetry over faults': simple(unsteady),
  'faulty without a fault': simple(() => faulty(memory())),
}

for (const [name, subject] of Object.entries(SUBJECTS)) {
  describe(name, () => runCases(storageCases, { ...subject, secrets: ['hunter2'] }, (title, body) => test(title, body)))
}

test('the names of the cases are unique', () => {
  expect(new Set(storageCases.map(({ name }) => name)).size).toBe(storageCases.length)
})

test('readOnly refuses every change and lets everything else through', async () => {
  const inner = memory()
  await inner.put('a/b', Buffer.from('hello'))
  const storage = readOnly(inner)
  expect(storage.capabilities.readOnly).toBe(true)
  await rejects(storage.put('a/b', Buffer.from('x')), 'put', 'STORAGE_READ_ONLY')
  await rejects(storage.delete('a/b'), 'delete', 'STORAGE_READ_ONLY')
  expect((await storage.stat('a/b'))?.sizeBytes).toBe(5)
  const writing = ['put', 'replaces', 'delete', 'puts', 'ifAbsent']
  const seed = (): Storage => {
    const storage = memory()
    return { ...readOnly(storage), put: storage.put, delete: storage.delete, capabilities: storage.capabilities }
  }
  // Reading through the decorator is held to the same cases as any other storage.
  for (const { name, run } of storageCases) if (!writing.some((word) => name.startsWith(word))) await run(simple(seed))
})
