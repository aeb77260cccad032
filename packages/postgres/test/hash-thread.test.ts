import { Meter } from '@taskflow-backup/core'
import { describe, expect, test } from 'vitest'
import { patterned, settled } from '../../testing/src/index.ts'
import { HashThread, memberMeter } from '../src/child/hash-thread.ts'

const BYTES = patterned(3_000_001)

describe('the thread that hashes', () => {
  test('finds what a meter finds, in shared memory that is used again, and in other', async () => {
    const expected = new Meter()
    expected.update(BYTES)
    for (const shared of [true, false]) {
      const thread = new HashThread()
      const buffers = [0, 1].map(() => Buffer.from(shared ? new SharedArrayBuffer(100_000) : new ArrayBuffer(100_000)))
      const busy: (Promise<void> | undefined)[] = []
      for (let at = 0, round = 0; at < BYTES.length; at += 100_000, round++) {
        await busy[round % 2]
        const buffer = buffers[round % 2] as Buffer
        const length = BYTES.copy(buffer, 0, at)
        busy[round % 2] = thread.update(buffer.subarray(0, length))
      }
      expect(await thread.facts()).toEqual(expected.facts())
      thread.close()
    }
  })

  test('answers nothing at all with the hash of nothing', async () => {
    const thread = new HashThread()
    expect(await thread.facts()).toEqual(new Meter().facts())
    thread.close()
  })

  test('fails everything that waits for it when it ends too early, and what is asked later', async () => {
    const thread = new HashThread()
    const waiting = [thread.update(BYTES), thread.update(BYTES)]
    thread.close()
    const outcomes = await settled(Promise.allSettled(waiting), 'what waits')
    expect(outcomes).toMatchObject({ value: [{}, { status: 'rejected', reason: { code: 'INTERNAL' } }] })
    await expect(thread.update(BYTES)).rejects.toMatchObject({ code: 'INTERNAL' })
    await expect(thread.facts()).rejects.toMatchObject({ code: 'INTERNAL' })
  })

  test('is not started for a short member', () => {
    expect(memberMeter(1_000_000)).toBeInstanceOf(Meter)
  })
})
