import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { adapterCases, storageCases } from '../src/index.ts'

const INDEX = new URL('../src/index.ts', import.meta.url).href
const CORE = pathToFileURL(fileURLToPath(new URL('../../core/src/index.ts', import.meta.url))).href

test('the cases run under node:test, and a broken storage fails there', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'node-test-'))
  try {
    const file = join(folder, 'cases.test.mjs')
    await writeFile(
      file,
      `import test from 'node:test'
import { memory } from '${CORE}'
import { adapterCases, ledgerSubject, runCases, storageCases } from '${INDEX}'
const subject = (make) => ({ create: async () => ({ storage: make(), destroy: async () => {} }) })
if (process.env.BROKEN) runCases(storageCases.slice(0, 3), subject(() => ({ ...memory(), stat: async () => undefined })), test)
else {
  runCases(storageCases, subject(memory), test)
  runCases(adapterCases, ledgerSubject, test)
  const { create } = ledgerSubject
  const plain = async () => {
    const { failSource: _, ...instance } = await create()
    return instance
  }
  runCases(adapterCases.filter(({ name }) => name.includes('failing source')), { create: plain }, test)
}
`,
    )
    // Without these variables node:test would take itself for a part of another run.
    const { NODE_TEST_CONTEXT: _, NODE_OPTIONS: _options, ...env } = process.env
    const run = (extra: object) =>
      promisify(execFile)(process.execPath, ['--test', '--test-reporter=tap', file], { env: { ...env, ...extra } })
    const { stdout } = await run({})
    expect(stdout).toContain(`# pass ${storageCases.length + adapterCases.length}\n`)
    expect(stdout).toContain('# fail 0\n')
    expect(stdout).toContain('# skipped 1\n')
    await expect(run({ BROKEN: '1' })).rejects.toThrow()
  } finally {
    await rm(folder, { recursive: true })
  }
})
