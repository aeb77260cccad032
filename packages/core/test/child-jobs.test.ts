import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { PassThrough, Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { type AdapterContext, jobMember, type Progress, startJob } from '../src/index.ts'
import type { Jobs } from './support/jobs-program.ts'
import { scenario } from './support/scenario.ts'

const program = fileURLToPath(new URL('support/jobs-program.ts', import.meta.url))

function context(more: Partial<AdapterContext> = {}): AdapterContext {
  const { runtime } = scenario().plan
  return { ...runtime, signal: new AbortController().signal, onProgress: () => {}, onWarning: () => {}, ...more }
}

const job = <Name extends keyof Jobs & string>(
  name: Name,
  input: Jobs[Name]['input'],
  more?: Partial<AdapterContext>,
) => startJob<Jobs, Name>(program, name, input, context(more))

test('a result comes back', async () => {
  expect(await job('add', { left: 2, right: 3 }).result).toBe(5)
})

test('bytes go in and come out', async () => {
  const bytes = Buffer.alloc(3_000_000, 'abc')
  const taking = job('hash', null)
  taking.channel.end(bytes)
  expect(await taking.result).toBe(createHash('sha256').update(bytes).digest('hex'))
  const giving = job('give', { bytes: 3_000_000 })
  expect((await buffer(giving.channel)).equals(Buffer.alloc(3_000_000, 7))).toBe(true)
  expect((await giving.result).pid).not.toBe(process.pid)
})

test('progress is told now and then, and its end for certain; warnings all', async () => {
  const told: Progress[] = []
  const warnings: string[] = []
  await job('tell', null, {
    onProgress: (progress) => told.push(progress),
    onWarning: (message) => warnings.push(message),
  }).result
  expect(told.at(-1)).toMatchObject({ bytes: 1000, totalBytes: 1000 })
  expect(told.length).toBeLessThan(500)
  expect(warnings).toEqual(['this is odd'])
})

test('an error keeps its code, hint and whether it may be tried again', async () => {
  await expect(job('refuse', { code: 'SOURCE_BUSY' }).result).rejects.toMatchObject({
    name: 'BackupError',
    code: 'SOURCE_BUSY',
    message: 'Somebody has it.',
    hint: 'Ask again.',
    retryable: true,
  })
  await expect(job('throw', null).result).rejects.toMatchObject({
    code: 'CHILD_FAILED',
    message: expect.stringContaining('unforeseen'),
  })
  await expect(
    startJob<never, never>(program, 'nonsense' as never, null as never, context()).result,
  ).rejects.toMatchObject({ code: 'INTERNAL', message: expect.stringContaining('nonsense') })
})

test.each([
  [{ exitCode: 3 }, 'ended with code 3. about to go', false],
  [{ exitCode: 0 }, 'ended with code 0. about to go', false],
  [{}, 'was ended by SIGKILL', true],
])('a child that goes without an answer is a failure: %j', async (input, message, retryable) => {
  await expect(job('die', input).result).rejects.toMatchObject({
    code: 'CHILD_FAILED',
    message: expect.stringContaining(message),
    retryable,
  })
})

test('a program that is not there is a failure', async () => {
  await expect(startJob<Jobs, 'wait'>(`${program}.gone`, 'wait', null, context()).result).rejects.toMatchObject({
    code: 'CHILD_FAILED',
    message: expect.stringContaining('Cannot find module'),
  })
  const missing = context({ spawn: ((_: string, ...rest: []) => spawn('/no/such/node', ...rest)) as typeof spawn })
  await expect(startJob<Jobs, 'wait'>(program, 'wait', null, missing).result).rejects.toMatchObject({
    code: 'CHILD_FAILED',
    message: expect.stringContaining('could not be started'),
  })
})

test('a running job is asked and answers, also several times at once and before it listens', async () => {
  const running = job('answer', null)
  const order: string[] = []
  const asked = ['slow', 'quick', 'refuse'].map((request) => running.ask(request).finally(() => order.push(request)))
  expect(await Promise.allSettled(asked)).toMatchObject([
    { value: { request: 'slow' } },
    { value: { request: 'quick' } },
    { reason: { name: 'BackupError', code: 'SOURCE_BUSY', message: 'Somebody has it.', hint: 'Ask again.' } },
  ])
  expect(order.at(-1)).toBe('slow')
  expect(await running.ask('again')).toEqual({ request: 'again' })
  running.kill()
  await running.result.catch(() => {})
})

test.each([
  ['end', 'ended before it answered'],
  ['die', 'ended with code 4'],
])(
  'what was asked fails when the job ends before it answers (%s), and so does what is asked later',
  async (last, message) => {
    const running = job('answer', null)
    const asked = [running.ask('never'), running.ask(last)]
    const failure = { status: 'rejected', reason: { code: 'CHILD_FAILED', message: expect.stringContaining(message) } }
    expect(await Promise.allSettled(asked)).toMatchObject([failure, failure])
    expect(await Promise.allSettled([running.ask('later')])).toMatchObject([failure])
  },
)

test.each([['at once'], ['in the middle']])('an abort ends the child %s', async (when) => {
  const aborter = new AbortController()
  if (when === 'at once') aborter.abort()
  let child: ReturnType<typeof spawn> | undefined
  const spying = ((...given: Parameters<typeof spawn>) => (child = spawn(...given))) as typeof spawn
  const onWarning = (): void => aborter.abort() // it is at its work
  const waiting = job('tellAndWait', null, { signal: aborter.signal, spawn: spying, onWarning })
  await expect(waiting.result).rejects.toMatchObject({ code: 'ABORTED' })
  expect(child?.signalCode).toBe('SIGKILL')
})

test('a child that is ended before it read what it was sent, fails its job and nothing else', async () => {
  const aborter = new AbortController()
  const waiting = job('wait', null, { signal: aborter.signal })
  // Nobody looks after the channel any more when the system says that it was reset.
  await pipeline(Readable.from([Buffer.alloc(20_000)]), waiting.channel)
  const closed = new Promise((resolve) => waiting.channel.once('close', resolve))
  setTimeout(() => aborter.abort(), 300)
  await expect(waiting.result).rejects.toMatchObject({ code: 'ABORTED' })
  await closed
})

test('the child goes when its parent is killed', async () => {
  const parent = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import { fork } from 'node:child_process'
       const child = fork(${JSON.stringify(program)}, { execArgv: [] })
       child.on('message', () => process.stdout.write(String(child.pid)))
       child.send({ job: 'tellAndWait', input: null })`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const [text] = (await once(parent.stdout, 'data')) as [Buffer]
  const pid = Number(String(text))
  process.kill(pid, 0)
  parent.kill('SIGKILL')
  await expect.poll(() => isThere(pid)).toBe(false)
})

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('a member that nobody reads to its end is no unhandled rejection, though its job failed', async () => {
  const unhandled: unknown[] = []
  const note = (reason: unknown): void => void unhandled.push(reason)
  process.on('unhandledRejection', note)
  try {
    const result = Promise.reject(new Error('killed'))
    const { body } = jobMember('a.db', { channel: new PassThrough(), result }, { algorithm: 'none', level: 0 })
    body.destroy()
    await setImmediate()
    await setImmediate()
    expect(unhandled).toEqual([])
  } finally {
    process.off('unhandledRejection', note)
  }
})
