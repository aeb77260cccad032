// Loaded into a child of the library: ends it just before the n-th call that changes a file system.
import { createRequire, syncBuiltinESMExports } from 'node:module'

const CHANGES = [
  'chmodSync',
  'chownSync',
  'copyFileSync',
  'fsyncSync',
  'linkSync',
  'mkdirSync',
  'renameSync',
  'rmSync',
  'unlinkSync',
] as const
const last = Number(process.env.CRASH_BEFORE_CALL)
const mutable = createRequire(import.meta.url)('node:fs') as Record<string, unknown>
let calls = 0

for (const name of CHANGES) {
  const original = mutable[name] as (...args: unknown[]) => unknown
  mutable[name] = (...args: unknown[]): unknown => {
    if (++calls === last) process.kill(process.pid, 'SIGKILL')
    return original(...args)
  }
}
syncBuiltinESMExports()
