import { readdirSync } from 'node:fs'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { compressFrame, decodeMember } from '@taskflow-backup/core'
import * as fc from 'fast-check'
import { describe, expect, vi } from 'vitest'
import type { Step } from '../src/changes/format.ts'
import { Spool } from '../src/child/spool.ts'
import { StoredFrames } from '../src/child/stored-frames.ts'
import { decodeChanges } from './support/changes.ts'
import {
  arbitrarySteps,
  cutIntoLogs,
  encodeChanges,
  imageOf,
  type MadeMember,
  memberOf,
  mergePlain,
  mergeStored,
  PAGE_SIZE,
  playHistory,
  rebuildFrom,
  START,
  storeMember,
  type WrittenStep,
} from './support/history.ts'
import { test } from './support/place.ts'

const RUNS = { numRuns: 100 }
const arbitraryCuts = fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 5 })
const asLog = (plain: Buffer) => ({ kind: 'log' as const, plain })
const stepsOf = async (plain: Buffer): Promise<readonly Step[]> => (await decodeChanges(plain)).index.steps
const timesOf = (steps: readonly Step[]): number[] => steps.map(({ capturedAt }) => capturedAt - START)

describe('merged logs', () => {
  test('lead to every moment and every commit that the logs lead to', async ({ place }) => {
    await fc.assert(
      fc.asyncProperty(arbitrarySteps, arbitraryCuts, fc.nat(), fc.nat(10_000), async (made, cuts, n, ms) => {
        const { states, steps } = playHistory(made)
        const logs = cutIntoLogs(steps, cuts).map(encodeChanges)
        const { plain, facts } = await mergePlain(place.folder, logs)
        const full = states[0] as Buffer
        for (const limit of [{}, { at: START + ms }, { commit: n % states.length }]) {
          const expected = await rebuildFrom(place.folder, full, logs.map(asLog), limit)
          expect((await rebuildFrom(place.folder, full, [asLog(plain)], limit)).bytes.equals(expected.bytes)).toBe(true)
        }
        expect(facts).toMatchObject({
          firstCommit: 1,
          lastCommit: states.length - 1,
          before: steps[0]?.step.before,
          state: steps.at(-1)?.step.after,
          steps: (await stepsOf(plain)).length,
        })
      }),
      RUNS,
    )
  })

  test('thinned lead to the moments that are left, in which each page is once', async ({ place }) => {
    await fc.assert(
      fc.asyncProperty(
        arbitrarySteps,
        arbitraryCuts,
        fc.integer({ min: 1, max: 3_000 }),
        async (made, cuts, resolutionMs) => {
          const { states, steps } = playHistory(made)
          const logs = cutIntoLogs(steps, cuts).map(encodeChanges)
          const { plain } = await mergePlain(place.folder, logs, { resolutionMs })
          const { index } = await decodeChanges(plain)
          let entry = 0
          for (const { capturedAt, lastCommit, commits } of index.steps) {
            const { bytes } = await rebuildFrom(place.folder, states[0] as Buffer, [asLog(plain)], { at: capturedAt })
            // Of several looks at one moment, the last one counts.
            const last = index.steps.findLast((step) => step.capturedAt === capturedAt) as Step
            expect(bytes.equals(states[last.lastCommit] as Buffer)).toBe(true)
            expect(commits.length).toBeLessThanOrEqual(1)
            const written = index.pages.subarray(entry, entry + (commits[0]?.[1] ?? 0))
            expect(new Set(written).size).toBe(written.length)
            entry += written.length
            expect(steps.some(({ step }) => step.lastCommit === lastCommit && step.capturedAt === capturedAt)).toBe(
              true,
            )
          }
          // One for each period and way to capture, and perhaps one before it that ends a longer time without a commit.
          const kinds = index.steps.map(({ capturedAt, how }) => `${Math.floor(capturedAt / resolutionMs)} ${how}`)
          const isIdle = index.steps.map(({ firstCommit, lastCommit }) => lastCommit < firstCommit)
          expect(kinds.every((kind, i) => isIdle[i] || kind !== kinds[i + 1])).toBe(true)
          expect(isIdle.every((idle, i) => !idle || !isIdle[i + 1])).toBe(true)
        },
      ),
      RUNS,
    )
  })

  test('may overlap, as after a merge that was killed', async ({ place }) => {
    await fc.assert(
      fc.asyncProperty(arbitrarySteps, fc.nat(), fc.nat(), async (made, n, back) => {
        const { states, steps } = playHistory(made)
        const cut = n % (steps.length + 1)
        const parts = [steps.slice(0, cut), steps.slice(Math.max(0, cut - (back % 4)))]
        const logs = parts.filter(({ length }) => length > 0).map(encodeChanges)
        const { plain } = await mergePlain(place.folder, logs)
        const { bytes } = await rebuildFrom(place.folder, states[0] as Buffer, [asLog(plain)])
        expect(bytes.equals(states.at(-1) as Buffer)).toBe(true)
        expect(await stepsOf(plain)).toEqual(
          await stepsOf((await mergePlain(place.folder, [encodeChanges(steps)])).plain),
        )
      }),
      RUNS,
    )
  })

  test('are made again from merged ones', async ({ place }) => {
    await fc.assert(
      fc.asyncProperty(arbitrarySteps, arbitraryCuts, async (made, cuts) => {
        const { steps } = playHistory(made)
        const logs = cutIntoLogs(steps, cuts).map(encodeChanges)
        const once = await mergePlain(place.folder, logs)
        const half = Math.ceil(logs.length / 2)
        const parts = [logs.slice(0, half), logs.slice(half)].filter(({ length }) => length > 0)
        const twice: Buffer[] = []
        for (const part of parts) twice.push((await mergePlain(place.folder, part)).plain)
        expect((await mergePlain(place.folder, twice)).plain.equals(once.plain)).toBe(true)
      }),
      RUNS,
    )
  })

  test('with one missing between them are refused, and leave no file', async ({ place }) => {
    const { steps } = playHistory(Array.from({ length: 3 }, (_, i) => commitOf(100, i + 1)))
    const logs = [steps.slice(0, 1), steps.slice(2)].map(encodeChanges)
    const before = readdirSync(place.temporary)
    await expect(mergePlain(place.temporary, logs)).rejects.toMatchObject({
      code: 'MEMBER_DAMAGED',
      message: expect.stringMatching(/^1\.changes: .*does not go on/),
    })
    expect(readdirSync(place.temporary)).toEqual(before)
  })

  test('with a page that is not the one of its hash are refused, and leave no file', async ({ place }) => {
    const { steps } = playHistory([commitOf(100, 1), commitOf(100, 2)])
    const logs = steps.map((step) => encodeChanges([step]))
    const last = logs[1] as Buffer
    last[last.length - 1] = (last.at(-1) as number) ^ 1
    const before = readdirSync(place.temporary)
    await expect(mergePlain(place.temporary, logs)).rejects.toMatchObject({
      code: 'MEMBER_DAMAGED',
      message: expect.stringMatching(/^1\.changes: .*another page 1 than its index tells/),
    })
    expect(readdirSync(place.temporary)).toEqual(before)
  })
})

describe('compressed logs', () => {
  const ZSTD = { algorithm: 'zstd', level: 3 } as const
  const arbitraryFrames = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 3 })
  type StoredLog = MadeMember & { readonly frames: readonly Uint8Array[] }

  /** A log as it is stored: its index in a frame of its own, its pages in frames of so many pages, in turn. */
  async function storeLog(steps: readonly WrittenStep[], pagesInFrame: readonly number[]): Promise<StoredLog> {
    const plain = encodeChanges(steps)
    const begin = plain.length - steps.reduce((sum, { pages }) => sum + pages.length, 0) * PAGE_SIZE
    const frames = [await compressFrame(plain.subarray(0, begin), ZSTD)]
    for (let at = begin, turn = 0; at < plain.length; turn++) {
      const bytes = (pagesInFrame[turn % pagesInFrame.length] as number) * PAGE_SIZE
      frames.push(await compressFrame(plain.subarray(at, at + bytes), ZSTD))
      at += bytes
    }
    return { ...memberOf('made.changes', plain, Buffer.concat(frames), ZSTD), frames: frames.slice(1) }
  }

  /** Merges logs of whose frames each with a page may be taken as it is. */
  async function merge(folder: string, logs: readonly MadeMember[], resolutionMs?: number) {
    const settings = { compression: ZSTD, ...(resolutionMs !== undefined && { resolutionMs }) }
    const { bytes, facts } = await mergeStored(folder, logs, settings, PAGE_SIZE)
    const member = {
      name: 'merged.changes',
      file: 'merged.changes.zst',
      codecs: [{ name: 'zstd', level: 3 }],
      ...facts,
    }
    return { bytes, plain: await buffer(decodeMember(member, Readable.from([bytes]), () => {})) }
  }

  const holdsInOrder = (bytes: Buffer, frames: readonly Uint8Array[]): boolean => {
    let at = 0
    return frames.every((frame) => {
      at = bytes.indexOf(frame, at)
      return at >= 0
    })
  }

  test('are merged as they are: what is compressed already is not compressed again', async ({ place }) => {
    await fc.assert(
      fc.asyncProperty(arbitrarySteps, arbitraryCuts, arbitraryFrames, async (made, cuts, pagesInFrame) => {
        const parts = cutIntoLogs(playHistory(made).steps, cuts)
        const logs = await Promise.all(parts.map((part) => storeLog(part, pagesInFrame)))
        const { bytes, plain } = await merge(place.folder, logs)
        expect(plain.equals((await mergePlain(place.folder, parts.map(encodeChanges))).plain)).toBe(true)
        const frames = logs.flatMap((log) => log.frames)
        expect(holdsInOrder(bytes, frames)).toBe(true)
        // And again, as they will be at the next level.
        const again = await merge(place.folder, [memberOf('once.changes', plain, bytes, ZSTD)])
        expect(again.bytes.equals(bytes)).toBe(true)
      }),
      RUNS,
    )
  })

  test('are the same merged, whether or not their frames can be taken: thinned, overlapping, with frames across pages', async ({
    place,
  }) => {
    await fc.assert(
      fc.asyncProperty(
        arbitrarySteps,
        fc.nat(),
        fc.nat(3),
        arbitraryFrames,
        fc.option(fc.integer({ min: 1, max: 3_000 }), { nil: undefined }),
        async (made, n, back, pagesInFrame, resolutionMs) => {
          const { steps } = playHistory(made)
          const cut = n % (steps.length + 1)
          const parts = [steps.slice(0, cut), steps.slice(Math.max(0, cut - back))].filter(({ length }) => length > 0)
          const expected = await mergePlain(place.folder, parts.map(encodeChanges), {
            ...(resolutionMs !== undefined && { resolutionMs }),
          })
          const framed = await Promise.all(parts.map((part) => storeLog(part, pagesInFrame)))
          expect((await merge(place.folder, framed, resolutionMs)).plain.equals(expected.plain)).toBe(true)
          const whole = await Promise.all(parts.map((part) => storeMember('made.changes', encodeChanges(part), ZSTD)))
          const mixed = framed.map((log, i) => (i % 2 === 0 ? (whole[i] as MadeMember) : log))
          expect((await merge(place.folder, mixed, resolutionMs)).plain.equals(expected.plain)).toBe(true)
        },
      ),
      RUNS,
    )
  })

  test('of another level are compressed as the merged one shall be', async ({ place }) => {
    const { steps } = playHistory([commitOf(100, 1), commitOf(100, 2), commitOf(100, 3)])
    const log = await storeLog(steps, [1])
    const other = { ...log, member: { ...log.member, codecs: [{ name: 'zstd', level: 1 }] } }
    expect(holdsInOrder((await merge(place.folder, [log])).bytes, log.frames)).toBe(true)
    const { bytes, plain } = await merge(place.folder, [other])
    expect(log.frames.some((frame) => bytes.includes(Buffer.from(frame)))).toBe(false)
    expect(plain.equals(encodeChanges(steps))).toBe(true)
  })

  test('of which there is no room for a copy are compressed anew', async ({ place }) => {
    const frames = new StoredFrames(place.temporary, ZSTD, PAGE_SIZE)
    const { steps } = playHistory([commitOf(100, 1)])
    const [first, second] = [await storeLog(steps, [1]), await storeLog(steps, [1])]
    const noRoom = vi.spyOn(Spool.prototype, 'append').mockImplementation(() => {
      throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC', syscall: 'write' })
    })
    frames.takerFor(first.member)?.(first.stored)
    noRoom.mockRestore()
    await frames.endMember({ image: 0, count: 1, pageSize: PAGE_SIZE })
    expect(frames.at(0)).toBeUndefined()
    frames.takerFor(second.member)?.(second.stored)
    await frames.endMember({ image: 1, count: 1, pageSize: PAGE_SIZE })
    const found = frames.at(1)
    expect(found && frames.read(found).equals(second.frames[0] as Uint8Array)).toBe(true)
  })
})

describe('what a merged log tells', () => {
  test('looks without a commit become one; how far moments are apart counts where something happened', async ({
    place,
  }) => {
    const idle = { waitMs: 60_000, how: 'log' as const, commits: [] }
    const made = [commitOf(1_000, 1), idle, idle, idle, commitOf(2_500, 2), commitOf(1_000, 3), idle]
    const { plain, facts } = await mergePlain(
      place.folder,
      playHistory(made).steps.map((step) => encodeChanges([step])),
    )
    expect(timesOf(await stepsOf(plain))).toEqual([1_000, 181_000, 183_500, 184_500, 244_500])
    expect(facts).toMatchObject({ steps: 5, pages: 3, resolutionMs: 2_500, gaps: [] })
  })

  test('a comparison stays a gap, with its reason, and is joined with no other step', async ({ place }) => {
    const gap = { ...commitOf(500, 2), how: 'comparison' as const }
    const made = [commitOf(100, 1), gap, commitOf(100, 3), commitOf(100, 1)]
    const logs = [encodeChanges(playHistory(made).steps)]
    const { plain, facts } = await mergePlain(place.folder, logs, { resolutionMs: 60_000 })
    expect((await stepsOf(plain)).map(({ how }) => how)).toEqual(['log', 'comparison', 'log'])
    const reason = 'The write-ahead log was reset since the last backup.'
    expect(facts.gaps).toEqual([{ after: START + 100, until: START + 600, reason }])
    expect(facts.resolutionMs).toBe(200)
  })

  test('pages that were cut off and came back unwritten are zeros, also where only the end is kept', async ({
    place,
  }) => {
    const made = [
      { waitMs: 1, how: 'log' as const, commits: [{ pageCount: 2, pages: [] }] },
      { waitMs: 1, how: 'log' as const, commits: [{ pageCount: 6, pages: [[5, 3] as const] }] },
    ]
    const { states, steps } = playHistory(made)
    const { plain } = await mergePlain(place.folder, [encodeChanges(steps)], { resolutionMs: 60_000 })
    const { bytes } = await rebuildFrom(place.folder, states[0] as Buffer, [asLog(plain)])
    const zeros = Buffer.alloc(PAGE_SIZE)
    expect(bytes.equals(Buffer.concat([imageOf(1, 1), imageOf(1, 2), zeros, zeros, imageOf(3, 5), zeros]))).toBe(true)
  })

  test('the first distance counts from what the first log continues', async ({ place }) => {
    const { steps } = playHistory([commitOf(100, 1), commitOf(100, 2)])
    const logs = steps.map((step: WrittenStep) => encodeChanges([step]))
    expect((await mergePlain(place.folder, logs, { after: START - 900 })).facts.resolutionMs).toBe(1_000)
  })
})

function commitOf(waitMs: number, content: number) {
  return { waitMs, how: 'log' as const, commits: [{ pageCount: 6, pages: [[1, content] as const] }] }
}
