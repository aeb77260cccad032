import { Duplex, PassThrough, type Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { brokenStream, patterned, settled, streamOf } from '../../testing/src/index.ts'
import { BackupError, feedJob, LentBody } from '../src/index.ts'

const BYTES = patterned(1_000_003)
const PIECE_BYTES = 70_000

/** Everything of `BYTES` in one buffer, which is overwritten each time. */
async function* overwriting(): AsyncGenerator<Uint8Array, void, void> {
  const buffer = Buffer.alloc(PIECE_BYTES)
  for (let at = 0; at < BYTES.length; at += PIECE_BYTES) {
    yield buffer.subarray(0, BYTES.copy(buffer, 0, at, at + PIECE_BYTES))
    buffer.fill(0xee)
  }
}

/** A job that takes its time with every piece, and gives all that it got. */
function slowJob() {
  const pieces: Buffer[] = []
  const channel = new Duplex({
    read() {},
    write(piece: Buffer, _encoding, done) {
      setImmediate(() => {
        pieces.push(Buffer.from(piece))
        done()
      })
    },
  })
  const result = new Promise<Buffer>((resolve) => channel.once('finish', () => resolve(Buffer.concat(pieces))))
  return { channel, result }
}

/** A job that ends with `error` and breaks its channel when the first bytes come. */
function failingJob(error: Error) {
  let fail: (error: Error) => void = () => {}
  const result = new Promise<never>((_, reject) => {
    fail = reject
  })
  const channel = new Duplex({
    read() {},
    write(_piece, _encoding, done) {
      fail(error)
      done()
      channel.destroy(new Error('read ECONNRESET'))
    },
  }).on('error', () => {})
  result.catch(() => {}) // as of a running job
  return { channel, result }
}

describe('feedJob', () => {
  test('hands on lent memory, and asks for the next piece when the last one is on its way', async () => {
    const body = new LentBody(overwriting())
    expect((await feedJob(body, slowJob())).equals(BYTES)).toBe(true)
    expect(body).toMatchObject({ isLent: true, destroyed: true })
    expect((await feedJob(streamOf(BYTES), slowJob())).equals(BYTES)).toBe(true)
  })

  test('tells why the job failed, and lets go of a body that stands still', async () => {
    async function* standing(): AsyncGenerator<Uint8Array, void, void> {
      yield BYTES.subarray(0, 1000)
      await new Promise(() => {})
    }
    for (const body of [new LentBody(standing()), brokenStream(BYTES)] satisfies Readable[]) {
      const job = failingJob(new BackupError('MEMBER_DAMAGED', 'It is damaged.'))
      const outcome = await settled(feedJob(body, job), 'feedJob')
      expect(outcome).toMatchObject({ error: { code: 'MEMBER_DAMAGED' } })
      expect(body.destroyed).toBe(true)
    }
  })

  test('tells that the storage failed, whatever the job says about what it got', async () => {
    const channel = new PassThrough().resume()
    const result = new Promise<never>((_, reject) => {
      channel.once('close', () => reject(new BackupError('MEMBER_DAMAGED', 'It ends too early.')))
    })
    const body = brokenStream(BYTES, new BackupError('STORAGE_FAILED', 'It is gone.'))
    await expect(feedJob(body, { channel, result })).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
  })

  test('says so when a channel breaks although the job was done', async () => {
    const { channel } = failingJob(new Error('nobody hears of it'))
    await expect(feedJob(streamOf(BYTES), { channel, result: Promise.resolve(1) })).rejects.toMatchObject({
      code: 'CHILD_FAILED',
    })
  })
})
