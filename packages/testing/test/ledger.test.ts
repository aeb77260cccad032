import { describe, expect, test } from 'vitest'
import { adapterCases, ledgerSubject, runCases } from '../src/index.ts'

describe('ledger', () => runCases(adapterCases, ledgerSubject, (title, body) => test(title, body)))

test('the names of the cases are unique', () => {
  expect(new Set(adapterCases.map(({ name }) => name)).size).toBe(adapterCases.length)
})
