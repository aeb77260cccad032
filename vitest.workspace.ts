import { fileURLToPath } from 'node:url'
import type { TestProjectInlineConfiguration } from 'vitest/config'
import { bundledChildren } from './test/support/bundled-children.ts'

/** Every test project: one for each package, and `repo` for what concerns the repository as a whole. */
export default [
  project('core', './packages/core'),
  project('sqlite', './packages/sqlite'),
  project('postgres', './packages/postgres'),
  project('mssql', './packages/mssql'),
  project('testing', './packages/testing'),
  project('repo', '.', ['test/**/*.test.ts', 'examples/**/*.test.ts', 'docs/**/*.test.ts']),
]

function project(name: string, root: string, include = ['{src,test}/**/*.test.ts']): TestProjectInlineConfiguration {
  return {
    plugins: [bundledChildren()],
    test: {
      name,
      root: fileURLToPath(new URL(root, import.meta.url)),
      include,
      // Programs of the tests run the sources: what Node made of them once need not be made again for each.
      env: { NODE_COMPILE_CACHE: fileURLToPath(new URL('node_modules/.cache/compiled', import.meta.url)) },
      // These end what hangs, and assert nothing: on a busy machine everything takes several times as long as here.
      testTimeout: 300_000,
      hookTimeout: 300_000,
      expect: { poll: { timeout: 120_000 } },
    },
  }
}
