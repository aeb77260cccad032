import { createHash } from 'node:crypto'
import { BackupError, serveJobs } from '../../src/index.ts'

export type Jobs = {
  add: { input: { readonly left: number; readonly right: number }; result: number }
  refuse: { input: { readonly code: 'SOURCE_BUSY' | 'SOURCE_MISSING' }; result: never }
  throw: { input: null; result: never }
  die: { input: { readonly exitCode?: number }; result: never }
  hash: { input: null; result: string }
  give: { input: { readonly bytes: number }; result: { readonly pid: number } }
  tell: { input: null; result: null }
  wait: { input: null; result: never }
  answer: { input: null; result: null }
  tellAndWait: { input: null; result: never }
}

// The program of these tests: every way in which a job can go.
serveJobs<Jobs>({
  add: ({ left, right }) => left + right,
  refuse: ({ code }) => {
    throw new BackupError(code, 'Somebody has it.', { hint: 'Ask again.', retryable: true })
  },
  throw: () => {
    throw new RangeError('unforeseen')
  },
  die: ({ exitCode }) => {
    process.stderr.write('about to go\n')
    if (exitCode === undefined) process.kill(process.pid, 'SIGKILL')
    process.exit(exitCode)
  },
  async hash(_, tools) {
    const hash = createHash('sha256')
    for await (const piece of tools.input()) hash.update(piece as Buffer)
    return hash.digest('hex')
  },
  async give({ bytes }, tools) {
    const output = tools.output()
    await new Promise<void>((resolve) => output.end(Buffer.alloc(bytes, 7), resolve))
    return { pid: process.pid }
  },
  async tell(_, { onProgress, onWarning }) {
    for (let bytes = 1; bytes <= 1000; bytes++) onProgress(bytes, 1000)
    onWarning('this is odd')
    return null
  },
  tellAndWait(_, { onWarning }) {
    onWarning('waiting')
    return new Promise(() => setInterval(() => {}, 1000))
  },
  /** Answers late, and in another order than asked. */
  answer: (_, { onAsk }) =>
    new Promise((resolve) =>
      setTimeout(() => {
        onAsk(async (request) => {
          if (request === 'refuse') throw new BackupError('SOURCE_BUSY', 'Somebody has it.', { hint: 'Ask again.' })
          if (request === 'slow') await new Promise((answer) => setTimeout(answer, 50))
          if (request === 'end') resolve(null)
          if (request === 'never' || request === 'end') await new Promise(() => {})
          if (request === 'die') process.exit(4)
          return { request }
        })
      }, 20),
    ),
  wait: () => new Promise(() => setInterval(() => {}, 1000)),
})
