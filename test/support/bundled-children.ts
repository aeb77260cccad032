import { mkdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'tsup'
import type { Plugin } from 'vitest/config'

/** The module of a package that starts its children. */
const STARTS_CHILDREN = /^(.*\/packages\/\w+)\/src\/child-process\.ts$/

const bundles = new Map<string, Promise<string>>()

/**
 * Lets the child processes that tests start run one file, as those of the built packages do, and not a hundred and more
 * modules of TypeScript: each then costs 0.07 s of a processor instead of 0.18 s, and there are thousands. Not while
 * files are watched: then a child is what was written last.
 */
export function bundledChildren(): Plugin {
  let isOn = false
  return {
    name: 'bundled-children',
    enforce: 'pre',
    configureVitest: ({ vitest, defineCacheKeyGenerator }) => {
      isOn = !vitest.config.watch
      // A module that is not transformed again would lead to the bundle of an earlier run.
      defineCacheKeyGenerator(({ id }) => (STARTS_CHILDREN.test(id) ? false : undefined))
    },
    async transform(code, id) {
      const [, folder] = STARTS_CHILDREN.exec(id) ?? []
      if (!isOn || folder === undefined) return undefined
      const bundle = bundles.get(folder) ?? bundleChild(folder)
      bundles.set(folder, bundle)
      // The module looks for the child beside itself, with its own extension.
      const besideIt = pathToFileURL(join(await bundle, 'child-process.mjs')).href
      if (!code.includes('import.meta.url')) throw new Error(`${id} does not look for its child as expected.`)
      return code.replaceAll('import.meta.url', JSON.stringify(besideIt))
    },
  }
}

/** Makes `child/main.mjs` of a package, in a folder below its dependencies, so that it finds these. */
async function bundleChild(folder: string): Promise<string> {
  const made = join(folder, 'node_modules/.cache/bundled')
  const unfinished = `${made}-${process.pid}`
  await build({
    config: false,
    entry: { main: join(folder, 'src/child/main.ts') },
    outDir: unfinished,
    format: 'esm',
    splitting: false, // one file, so that the rename below is all
    target: 'node22',
    outExtension: () => ({ js: '.mjs' }),
    skipNodeModulesBundle: true,
    noExternal: [/^@taskflow-backup\//, 'valibot', 'temporal-polyfill'],
    silent: true,
  })
  const child = join(made, 'child/main.mjs')
  await mkdir(dirname(child), { recursive: true })
  await rename(join(unfinished, 'main.mjs'), child) // another run of the tests may be reading it
  await rm(unfinished, { recursive: true })
  return made
}
