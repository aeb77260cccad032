import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { type AddressInfo, createServer, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { patterned, readAll, settled, streamOf } from '../../testing/src/index.ts'
import { borrow, channelPieces, directory, LentBody, type Storage } from '../src/index.ts'
import { fanOut } from '../src/pipeline/fan-out.ts'

const BYTES = patterned(5_000_017)

/** Everything of `bytes` in one buffer, which is overwritten each time. */
async function* overwriting(bytes: Buffer, size: number): AsyncGenerator<Uint8Array, void, void> {
  const buffer = Buffer.alloc(size)
  for (let at = 0; at < bytes.length; at += size) {
    const length = bytes.copy(buffer, 0, at, at + size)
    yield buffer.subarray(0, length)
    buffer.fill(0xee)
  }
}

describe('a lent body', () => {
  test('gives copies to whoever reads it as a stream', async () => {
    expect((await readAll(new LentBody(overwriting(BYTES, 70_000)))).equals(BYTES)).toBe(true)
    expect(await readAll(new LentBody(overwriting(Buffer.alloc(0), 10)))).toHaveLength(0)
  })

  test('gives its own memory to whoever borrows, once', async () => {
    const body = new LentBody(overwriting(BYTES, 70_000))
    const pieces: Uint8Array[] = []
    for await (const piece of borrow(body)) {
      expect(Buffer.from(BYTES.subarray(pieces.length * 70_000)).indexOf(piece)).toBe(0)
      pieces.push(piece)
    }
    expect(new Set(pieces.map((piece) => piece.buffer)).size).toBe(1)
    expect(body).toMatchObject({ readableEnded: true, destroyed: true, canLend: false })
    const read = new LentBody(overwriting(BYTES, 70_000))
    read.on('data', () => {})
    expect(borrow(read)).toBe(read)
  })

  test('ends for its borrower when it is destroyed, or its source fails, while the next piece is waited for', async () => {
    let released = false
    const standing = async function* (): AsyncGenerator<Uint8Array, void, void> {
      try {
        yield BYTES
        await sleep(20)
        throw new Error('the source is gone')
      } finally {
        released = true
      }
    }
    const body = new LentBody(standing())
    setTimeout(() => body.destroy(new Error('enough')), 5)
    const outcome = await settled(readAll(borrow(body)), 'the borrower')
    expect(outcome).toMatchObject({ error: { message: 'enough' } })
    await expect.poll(() => released).toBe(true)
    await expect(readAll(borrow(new LentBody(standing())))).rejects.toThrow('the source is gone')
    await expect(readAll(new LentBody(standing()))).rejects.toThrow('the source is gone')
  })

  test('arrives whole in destinations that borrow and in those that keep', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'lent-'))
    try {
      const storage = directory(folder)
      const kept: Buffer[] = []
      for (const size of [1000, 700_000, 1024 * 1024, 3_000_000]) {
        await fanOut(new LentBody(overwriting(BYTES, size)).lend(), [
          { name: 'borrows', required: true, receive: (body) => storage.put(`a/${size}`, body) },
          {
            name: 'keeps',
            required: true,
            async receive(body) {
              for await (const piece of body) kept.push(piece as Buffer)
            },
          },
        ])
        expect((await readFile(join(folder, 'a', `${size}`))).equals(BYTES), `${size}`).toBe(true)
        expect(Buffer.concat(kept.splice(0)).equals(BYTES), `${size}`).toBe(true)
      }
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})

describe('what a directory reads', () => {
  const inDirectory = async (look: (storage: Storage) => Promise<void>): Promise<void> => {
    const folder = await mkdtemp(join(tmpdir(), 'lent-'))
    try {
      const storage = directory(folder)
      await storage.put('a', BYTES)
      await look(storage)
    } finally {
      await rm(folder, { recursive: true })
    }
  }

  test('is lent in one memory, whole or in part', () =>
    inDirectory(async (storage) => {
      for (const range of [undefined, { offset: 1_000_001, length: 2_000_000 }]) {
        const memories = new Set<ArrayBufferLike>()
        const copies: Buffer[] = []
        for await (const piece of borrow(await storage.get('a', range && { range }))) {
          memories.add(piece.buffer)
          copies.push(Buffer.from(piece))
        }
        const expected = range ? BYTES.subarray(range.offset, range.offset + range.length) : BYTES
        expect(Buffer.concat(copies).equals(expected)).toBe(true)
        expect(memories.size).toBe(1)
      }
    }))

  test('is copied in small pieces for whoever keeps it', () =>
    inDirectory(async (storage) => {
      const kept = (await (await storage.get('a')).toArray()) as Buffer[]
      expect(Buffer.concat(kept).equals(BYTES)).toBe(true)
      expect(Math.max(...kept.map(({ length }) => length))).toBeLessThanOrEqual(16 * 1024)
    }))
})

describe('the pieces of a channel', () => {
  /** A socket, and what feeds it. */
  async function connected(): Promise<{ here: Socket; there: Socket }> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const here = new Socket().connect((server.address() as AddressInfo).port, '127.0.0.1')
    const [there] = (await once(server, 'connection')) as [Socket]
    there.on('error', () => {})
    server.close()
    return { here, there }
  }

  test('are large, whole, and in few buffers, however fast they are taken', async () => {
    const { here, there } = await connected()
    const bytes = patterned(24 * 1024 * 1024 + 5)
    there.end(bytes)
    const buffers = new Set<ArrayBufferLike>()
    const lengths: number[] = []
    let at = 0
    for await (const piece of channelPieces(here)) {
      expect(piece.equals(bytes.subarray(at, at + piece.length))).toBe(true)
      at += piece.length
      lengths.push(piece.length)
      buffers.add(piece.buffer)
      if (lengths.length < 4) await sleep(30)
    }
    expect(at).toBe(bytes.length)
    expect(lengths).toEqual([...Array(24).fill(1024 * 1024), 5])
    expect(buffers.size).toBeLessThan(8)
    expect(here.destroyed).toBe(true)
  })

  test('wait for whoever takes them', async () => {
    const { here, there } = await connected()
    const taken = channelPieces(here)
    there.write(patterned(64 * 1024 * 1024))
    await taken.next()
    await sleep(50)
    expect(here.bytesRead).toBeLessThan(6 * 1024 * 1024)
    await taken.return()
    expect(here.destroyed).toBe(true)
    there.destroy()
  })

  test('leave the memory of others alone', async () => {
    const bytes = patterned(3_000_000)
    const channel = streamOf(bytes, 100_000).pipe(new PassThrough())
    expect((await readAll(channelPieces(channel))).equals(bytes)).toBe(true)
    expect(bytes).toHaveLength(3_000_000)
  })

  test('end with the error of the channel, and at once when it was gone before', async () => {
    const { here, there } = await connected()
    const taken = channelPieces(here)
    there.write(patterned(1024 * 1024))
    await taken.next()
    there.resetAndDestroy()
    await expect(settled(taken.next(), 'the next piece')).resolves.toMatchObject({ error: { code: 'ECONNRESET' } })
    expect(await settled(readAll(channelPieces(here)), 'a channel that is gone')).toHaveProperty('error')
    const ended = new PassThrough()
    ended.end().resume()
    await once(ended, 'close')
    expect(await readAll(channelPieces(ended))).toHaveLength(0)
  })
})
