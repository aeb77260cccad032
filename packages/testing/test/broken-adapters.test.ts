import { expect, test } from 'vitest'
import { type AdapterSubject, adapterCases, ledgerSubject } from '../src/index.ts'
import { type Broken, timers } from './broken/adapter.ts'
import { brokenChains } from './broken/chains.ts'
import { brokenFollows } from './broken/follows.ts'
import { brokenMerges } from './broken/merges.ts'
import { brokenRestores } from './broken/restores.ts'

async function failedCases(broken: Broken, only: readonly RegExp[]): Promise<string[]> {
  const subject: AdapterSubject = {
    async create() {
      const instance = { ...(await ledgerSubject.create()), secrets: ['hunter2'] }
      const { adapter } = instance
      return Object.assign(instance, { adapter: { ...adapter, ...broken(adapter, instance) } })
    },
  }
  const failed: string[] = []
  for (const { name, run } of adapterCases.filter((one) => only.some((pattern) => pattern.test(one.name)))) {
    await run(subject).catch(() => failed.push(name))
  }
  for (const timer of timers.splice(0)) clearInterval(timer)
  return failed
}

const noticed = new Set<string>()

for (const [fault, patterns, broken] of [...brokenRestores, ...brokenChains, ...brokenFollows, ...brokenMerges]) {
  test(`an adapter that ${fault} is found out`, async () => {
    const failed = await failedCases(broken, patterns)
    for (const name of failed) noticed.add(name)
    for (const pattern of patterns)
      expect(
        failed.some((name) => pattern.test(name)),
        String(pattern),
      ).toBe(true)
  })
}

test('every case has a broken adapter that fails it', () => {
  expect(adapterCases.map(({ name }) => name).filter((name) => !noticed.has(name))).toEqual([])
})
