import { adapterCases, runCases } from '@taskflow-backup/testing'
import { describe, test } from 'vitest'
import { create } from './support/conformance-subject.ts'

describe('the contract of adapters', () => {
  runCases(adapterCases, { create: () => create('wal') }, test)
})
