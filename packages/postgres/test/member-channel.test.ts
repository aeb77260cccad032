import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { PassThrough, Readable, Writable } from 'node:stream'
import type { StreamFacts } from '@taskflow-backup/core'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MemberSender, receiveMembers } from '../src/member-channel.ts'

const FACTS: StreamFacts = { bytes: 3, sha256: 'a'.repeat(64) }
const noFailure = async (): Promise<undefined> => undefined

interface Sent {
  readonly name: string
  readonly pieces: readonly Uint8Array[]
}

/** The bytes that a sender makes of members. */
async function encode(members: readonly Sent[]): Promise<Buffer> {
  const output = new PassThrough({ highWaterMark: 1 })
  const bytes = output.toArray()
  const sender = new MemberSender(output)
  for (const { name, pieces } of members) {
    await sender.begin({ name, codecs: [{ name: 'zstd', level: 3 }] })
    for (const piece of pieces) await sender.data(piece)
    await sender.end({ plain: FACTS, stored: { ...FACTS, bytes: Buffer.concat(pieces).length } })
  }
  await sender.finish()
  return Buffer.concat(await bytes)
}

function chunksOf(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const chunks: Buffer[] = []
  for (let at = 0, index = 0; at < bytes.length; index++) {
    const size = sizes[index % sizes.length] as number
    chunks.push(Buffer.from(bytes.subarray(at, at + size)))
    at += size
  }
  return chunks
}

async function decode(chunks: readonly Buffer[], failure: () => Promise<unknown> = noFailure) {
  const found: { name: string; content: string; storedBytes: number }[] = []
  for await (const { name, body, facts } of receiveMembers(Readable.from(chunks), failure)) {
    const content = Buffer.concat(await body.toArray()).toString('hex')
    found.push({ name, content, storedBytes: facts().stored.bytes })
  }
  return found
}

const someMembers = fc.array(
  fc.record({
    name: fc.stringMatching(/^[a-z]{1,9}$/),
    pieces: fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 5 }),
  }),
  { maxLength: 4 },
)

describe('the channel of members', () => {
  test('gives back what was sent, for every chunking', async () => {
    await fc.assert(
      fc.asyncProperty(
        someMembers,
        fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 9 }),
        async (members, sizes) => {
          const found = await decode(chunksOf(await encode(members), sizes))
          expect(found).toEqual(
            members.map(({ name, pieces }) => {
              const content = Buffer.concat(pieces)
              return { name, content: content.toString('hex'), storedBytes: content.length }
            }),
          )
        },
      ),
      { numRuns: 60 },
    )
  })

  test('never takes a channel that was cut anywhere for a whole one', async () => {
    const members = [
      { name: 'first', pieces: [Buffer.from('one'), Buffer.from('two')] },
      { name: 'second', pieces: [Buffer.from('three')] },
    ]
    const bytes = await encode(members)
    const whole = await decode([bytes])
    // Between two members nothing is missing that the channel could know of; there the job's result decides.
    const between = (await encode(members.slice(0, 1))).length
    for (let end = 1; end < bytes.length; end++) {
      const outcome = await decode([bytes.subarray(0, end)]).catch((error: unknown) => error)
      if (end === between) expect(outcome).toEqual(whole.slice(0, 1))
      else expect(outcome, `cut at ${end}`).toMatchObject({ code: 'CHILD_FAILED' })
    }
  })

  test('tells why the job failed instead of that the channel was cut', async () => {
    const bytes = await encode([{ name: 'first', pieces: [Buffer.from('one')] }])
    const reason = new Error('the server went away')
    for (const end of [0, 1, 20, bytes.length - 1, bytes.length])
      await expect(
        decode([bytes.subarray(0, end)], () => Promise.reject(reason)),
        `${end}`,
      ).rejects.toBe(reason)
  })

  test('refuses what is no frame', async () => {
    const bytes = await encode([{ name: 'first', pieces: [Buffer.from('one')] }])
    await expect(decode([Buffer.alloc(40, 0x58)])).rejects.toMatchObject({ code: 'INTERNAL' })
    await expect(decode([Buffer.concat([bytes.subarray(0, 60), bytes])])).rejects.toThrow()
  })

  test('does not give the next member before the one before has ended', async () => {
    const bytes = await encode([{ name: 'first', pieces: [Buffer.from('one')] }])
    const members = receiveMembers(Readable.from([bytes]), noFailure)
    const { value } = await members.next()
    expect(() => value?.facts()).toThrow('has not ended')
    await expect(members.next()).rejects.toMatchObject({ code: 'CONTRACT_BROKEN' })
  })
})

describe('a channel that breaks fails whoever writes to it', () => {
  const reason = new Error('the app has gone')
  /** Takes nothing, and its errors go unheard, as those of a job's channel do. */
  const stuck = (): Writable => new Writable({ highWaterMark: 1, write() {} }).on('error', () => {})
  const failure = { code: 'CHILD_FAILED', message: expect.stringContaining('the app has gone') }

  test.each([
    ['waits for room', (sender: MemberSender) => sender.data(Buffer.alloc(100))],
    ['waits for the end', (sender: MemberSender) => sender.finish()],
  ])('and %s', async (_, work) => {
    for (const why of [reason, undefined]) {
      const output = stuck()
      const outcome = work(new MemberSender(output))
      output.destroy(why)
      await expect(outcome).rejects.toMatchObject(why ? failure : { code: 'CHILD_FAILED' })
    }
  })

  test.each([
    ['data', (sender: MemberSender) => sender.data(Buffer.alloc(100))],
    ['the begin of a member', (sender: MemberSender) => sender.begin({ name: 'first', codecs: [] })],
    ['the end of a member', (sender: MemberSender) => sender.end({ plain: FACTS, stored: FACTS })],
    ['the end', (sender: MemberSender) => sender.finish()],
  ])('or is about to write %s', async (_, work) => {
    const output = stuck().destroy(reason)
    await new Promise<void>((resolve) => output.once('close', resolve)) // `once` would throw the error
    await expect(work(new MemberSender(output))).rejects.toMatchObject(failure)
  })

  test('a real one, whoever reads goes away in the middle', async () => {
    const server = createServer((reader) => reader.once('data', () => reader.resetAndDestroy())).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    const channel = connect(port, '127.0.0.1').on('error', () => {})
    const sender = new MemberSender(channel)
    const writing = (async () => {
      await sender.begin({ name: 'first', codecs: [] })
      for (;;) await sender.data(Buffer.alloc(64 * 1024))
    })()
    await expect(writing).rejects.toMatchObject({ code: 'CHILD_FAILED' })
    server.close()
  })
})
