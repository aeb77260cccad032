import { memory } from '@taskflow-backup/core'
import { expect, test } from 'vitest'
import { storageCases } from '../src/index.ts'
import { brokenPuts } from './broken/puts.ts'
import { brokenReads } from './broken/reads.ts'
import type { Breaking } from './broken/storage.ts'

async function failedCases(breaking: Breaking, only: readonly RegExp[]): Promise<string[]> {
  const subject = {
    secrets: ['hunter2'],
    async create() {
      const inner = memory()
      return { storage: { ...inner, ...breaking(inner) }, destroy: async () => {} }
    },
  }
  const wanted = storageCases.filter(({ name }) => only.some((pattern) => pattern.test(name)))
  const failed = await Promise.all(
    wanted.map(({ name, run }) =>
      run(subject).then(
        () => '',
        () => name,
      ),
    ),
  )
  return failed.filter((name) => name !== '')
}

const noticed = new Set<string>()

for (const [fault, patterns, breaking] of [...brokenPuts, ...brokenReads]) {
  test.concurrent(`a storage that ${fault} is found out`, async () => {
    const failed = await failedCases(breaking, patterns)
    for (const name of failed) noticed.add(name)
    for (const pattern of patterns)
      expect(
        failed.some((name) => pattern.test(name)),
        String(pattern),
      ).toBe(true)
  })
}

test('every case has a broken storage that fails it', () => {
  expect(storageCases.map(({ name }) => name).filter((name) => !noticed.has(name))).toEqual([])
})
