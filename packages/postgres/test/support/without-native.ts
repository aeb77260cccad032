import { spawn } from 'node:child_process'

/** Starts Node.js as it is on a platform that `@node-rs/crc32` has no native part for. */
export const spawnWithoutNative = spawnWithHook(
  '@node-rs/crc32',
  "throw new Error('There is no part for this platform.')",
)

/** Starts Node.js so that it finds another `zlib-sync`, or none. */
export const spawnWithZlibSync = (path: string): typeof spawn =>
  spawnWithHook('zlib-sync', `return next(${JSON.stringify(path)}, context)`)

/** `instead` runs where `name` would be resolved. */
function spawnWithHook(name: string, instead: string): typeof spawn {
  const hook = `
    import { registerHooks } from 'node:module'
    registerHooks({
      resolve(specifier, context, next) {
        if (specifier === ${JSON.stringify(name)}) ${instead}
        return next(specifier, context)
      },
    })`
  return ((program: string, args: readonly string[], options: object) =>
    spawn(
      program,
      ['--import', `data:text/javascript,${encodeURIComponent(hook)}`, ...args],
      options,
    )) as unknown as typeof spawn
}
