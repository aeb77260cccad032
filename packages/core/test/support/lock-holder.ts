import { directory } from '../../src/index.ts'
import { acquireLock } from '../../src/lock.ts'

// Runs as a process of its own: takes the lock of the plan `books` in the folder of its first argument, says so, waits.

const [, , folder, mode] = process.argv
const runtime = {
  now: () => new Date(),
  randomId: (length: number) => Math.random().toString(36).slice(2).padEnd(length, 'x').slice(0, length),
}
const request = { mode: mode as 'write', verb: 'createBackup', waitMs: 0, signal: new AbortController().signal }
await acquireLock(directory(folder as string), 'books', request, runtime as Parameters<typeof acquireLock>[3])
process.stdout.write('held\n')
