// Loaded into a child of the library: once it has renamed a file to `SILENT_AFTER`, it is killed where it would answer.
import { createRequire, syncBuiltinESMExports } from 'node:module'

const mutable = createRequire(import.meta.url)('node:fs') as typeof import('node:fs')
const { renameSync } = mutable

mutable.renameSync = (from, to) => {
  renameSync(from, to)
  if (to === process.env.SILENT_AFTER) process.send = () => process.kill(process.pid, 'SIGKILL')
}
syncBuiltinESMExports()
