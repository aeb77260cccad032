import { adapterCases, runCases } from '@taskflow-backup/testing'
import { describe, test } from 'vitest'
import { conformanceSubject } from './support/conformance-subject.ts'
import { fakeServer } from './support/server-under-test.ts'

describe('fake SQL Server, shared folder: the contract of adapters', () =>
  runCases(adapterCases, conformanceSubject(fakeServer), test))
