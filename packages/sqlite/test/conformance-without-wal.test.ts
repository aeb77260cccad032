import { adapterCases, runCases } from '@taskflow-backup/testing'
import { describe, test } from 'vitest'
import { create } from './support/conformance-subject.ts'

describe('the contract of adapters, without WAL mode', () => {
  // The others are about what comes after the reading. And what is committed between a look and a full that somebody
  // makes is only in that full: without a log nothing tells it from what is committed after the full.
  const capturing = adapterCases.filter(
    ({ name }) => /\b(log|differential|chain|full|source|stored)\b/.test(name) && !name.includes('takes the log over'),
  )
  runCases(capturing, { create: () => create('delete') }, test)
})
