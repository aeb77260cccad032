import * as fc from 'fast-check'
import { describe, expect } from 'vitest'
import {
  arbitrarySteps,
  cutIntoLogs,
  encodeChanges,
  encodeDifferential,
  type History,
  type MadeStep,
  PAGE_SIZE,
  playHistory,
  rebuildFrom,
  START,
  stateOf,
  type WrittenStep,
} from './support/history.ts'
import { test } from './support/place.ts'

const RUNS = { numRuns: 150 }
const arbitraryCuts = fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 5 })
const logOf = (steps: readonly WrittenStep[]) => ({ kind: 'log' as const, plain: encodeChanges(steps) })
const [full] = [0]

/** The newest state that was captured not after `at`. */
function stateAt({ states, steps }: History, at: number): Buffer {
  const step = steps.findLast(({ step: { capturedAt } }) => capturedAt <= at)
  return states[step?.step.lastCommit ?? full] as Buffer
}

const lastAt = ({ steps }: History): number => steps.at(-1)?.step.capturedAt as number

describe('a full and its logs', () => {
  test('lead to every moment, as it was captured', async ({ place }) => {
    await fc.assert(
      fc.asyncProperty(arbitrarySteps, arbitraryCuts, fc.integer({ min: -1, max: 10_000 }), async (made, cuts, ms) => {
        const history = playHistory(made)
        const logs = cutIntoLogs(history.steps, cuts).map(logOf)
        const at = START + ms
        const { bytes, result } = await rebuildFrom(place.folder, history.states[full] as Buffer, logs, { at })
        expect(bytes.equals(stateAt(history, at))).toBe(true)
        expect(result?.state).toBe(stateOf(bytes))
      }),
      RUNS,
    )
  })

  test('lead to every commit that was told apart, and to the last without a limit', async ({ place }) => {
    await fc.assert(
      fc.asyncProperty(arbitrarySteps, arbitraryCuts, fc.nat(), async (made, cuts, n) => {
        const history = playHistory(made)
        const logs = cutIntoLogs(history.steps, cuts).map(logOf)
        const image = history.states[full] as Buffer
        const commit = n % history.states.length
        const stopped = await rebuildFrom(place.folder, image, logs, { commit })
        expect(stopped.bytes.equals(history.states[commit] as Buffer)).toBe(true)
        expect(stopped.result).toEqual({ pageSize: PAGE_SIZE, state: stateOf(stopped.bytes), commit })
        const { bytes } = await rebuildFrom(place.folder, image, logs)
        expect(bytes.equals(history.states.at(-1) as Buffer)).toBe(true)
      }),
      RUNS,
    )
  })

  test('may overlap', async ({ place }) => {
    await fc.assert(
      fc.asyncProperty(arbitrarySteps, fc.nat(), fc.nat(), async (made, n, back) => {
        const history = playHistory(made)
        const { steps } = history
        const cut = n % (steps.length + 1)
        const from = Math.max(0, cut - (back % 4))
        const logs = [steps.slice(0, cut), steps.slice(from)].filter(({ length }) => length > 0).map(logOf)
        const { bytes } = await rebuildFrom(place.folder, history.states[full] as Buffer, logs)
        expect(bytes.equals(history.states.at(-1) as Buffer)).toBe(true)
      }),
      RUNS,
    )
  })

  test('are refused when one is missing between them', async ({ place }) => {
    const history = playHistory(threeSteps)
    const logs = [history.steps.slice(0, 1), history.steps.slice(2)].map(logOf)
    await expect(rebuildFrom(place.folder, history.states[full] as Buffer, logs)).rejects.toMatchObject({
      code: 'MEMBER_DAMAGED',
      message: expect.stringMatching(/^1\.changes: .*does not go on/),
    })
  })

  test('are refused over another full', async ({ place }) => {
    const history = playHistory(threeSteps)
    const other = Buffer.from(history.states[full] as Buffer)
    other[700] = 77
    await expect(rebuildFrom(place.folder, other, [logOf(history.steps)])).rejects.toMatchObject({
      code: 'MEMBER_DAMAGED',
    })
  })
})

/** Every commit counts on the first page, as a database does, so that no state comes back; no two looks at one moment. */
function counted(made: readonly MadeStep[]): MadeStep[] {
  let count = 100
  return made.map((step) => ({
    ...step,
    waitMs: step.waitMs + 2,
    commits: step.commits.map(({ pageCount, pages }) => ({ pageCount, pages: [...pages, page(1, count++)] })),
  }))
}

describe('a differential and the logs after it', () => {
  test('lead to every moment that is not before it, wherever between the looks it was made', async ({ place }) => {
    await fc.assert(
      fc.asyncProperty(
        arbitrarySteps,
        arbitraryCuts,
        fc.nat(),
        fc.integer({ min: 0, max: 10_000 }),
        async (made, cuts, n, ms) => {
          const history = playHistory(counted(made))
          const { states, steps } = history
          const commit = n % states.length
          const during = steps.find(({ step }) => step.lastCommit >= commit)?.step
          const capturedAt = during?.lookedAt ?? START
          const at = Math.max(capturedAt, START + ms)
          // It names the end of the newest log that was there, which it can be far behind.
          const known = cutIntoLogs(steps, cuts)
          const [newest] = known.map((log) => log.at(-1)?.step.lastCommit ?? 0).filter((last) => last <= commit)
          const differential = {
            kind: 'differential' as const,
            plain: encodeDifferential(states[full] as Buffer, states[commit] as Buffer, capturedAt, newest ?? 0),
            commit: newest ?? 0,
          }
          const from = newest === undefined ? 0 : 1
          const logs = known.slice(from).map(logOf)
          const { bytes } = await rebuildFrom(place.folder, states[full] as Buffer, [differential, ...logs], { at })
          const step = steps.findLast(({ step }) => step.capturedAt <= at)?.step.lastCommit ?? 0
          // What the differential saw is never taken back.
          const expected = (logs.length === 0 || step < commit ? states[commit] : states[step]) as Buffer
          expect(bytes.equals(expected)).toBe(true)
        },
      ),
      RUNS,
    )
  })

  test('the place in the log tells which is later, where the clock was set back', async ({ place }) => {
    const written = (content: number) => [{ pageCount: 6, pages: [page(1, content)] }]
    const history = playHistory([2, 3].map((content) => ({ waitMs: 100, how: 'log', commits: written(content) })))
    const [image, first, second] = history.states as [Buffer, Buffer, Buffer]
    const mark = (frame: number) => ({ salts: '0123456789abcdef', frame, checksum: 'fedcba9876543210' })
    const steps = history.steps.map(({ step, pages }, i) => ({ step: { ...step, mark: mark(10 * (i + 1)) }, pages }))
    const log = logOf(steps)
    const from = async (state: Buffer, capturedAt: number, frame?: number) => {
      const plain = encodeDifferential(image, state, capturedAt, 0, frame === undefined ? undefined : mark(frame))
      const differential = { kind: 'differential' as const, plain, commit: 0 }
      // Only the first step is in time. What it writes over the differential would lead back to its state.
      const { bytes } = await rebuildFrom(place.folder, image, [differential, log], { at: START + 150 })
      return [image, first, second].findIndex((one) => one.equals(bytes))
    }
    expect(await from(second, START + 150, 20)).toBe(2)
    expect(await from(image, START + 150, 5)).toBe(1)
    // It says that it was in time, and the step that was in time says that it was not.
    await expect(from(second, START + 50, 20)).rejects.toMatchObject({ code: 'POINT_UNREACHABLE' })
    expect(await from(second, START + 150)).toBe(2)
    expect(await from(image, START + 50)).toBe(1)
  })

  test('a commit that may be before it is refused, and one behind it is reached', async ({ place }) => {
    const history = playHistory(threeSteps)
    const [image, , , third] = history.states as [Buffer, Buffer, Buffer, Buffer]
    const differential = {
      kind: 'differential' as const,
      plain: encodeDifferential(image, third, START + 250, 0),
      commit: 0,
    }
    const from = (commit: number) => rebuildFrom(place.folder, image, [differential, logOf(history.steps)], { commit })
    for (const commit of [1, 2]) {
      await expect(from(commit)).rejects.toMatchObject({
        code: 'POINT_UNREACHABLE',
        message: expect.stringContaining('differential'),
      })
    }
    const last = history.states.length - 1
    const { bytes } = await from(last)
    expect(bytes.equals(history.states[last] as Buffer)).toBe(true)
  })
})

describe('a commit that is not there', () => {
  test('is refused with the nearest ones', async ({ place }) => {
    const history = playHistory(threeSteps)
    const image = history.states[full] as Buffer
    const joined = history.steps.map((written): WrittenStep => {
      const { commits } = written.step
      const count = commits.reduce((sum, [, pages]) => sum + pages, 0)
      return { ...written, step: { ...written.step, commits: [[commits.at(-1)?.[0] ?? 0, count]] } }
    })
    expect(joined[0]?.step.lastCommit).toBe(2)
    await expect(rebuildFrom(place.folder, image, [logOf(joined)], { commit: 1 })).rejects.toMatchObject({
      code: 'POINT_UNREACHABLE',
      message: expect.stringContaining('the nearest are 0 and 2'),
    })
    await expect(rebuildFrom(place.folder, image, [logOf(joined)], { commit: 99 })).rejects.toMatchObject({
      code: 'POINT_UNREACHABLE',
      message: expect.stringContaining(`end with commit ${history.states.length - 1}`),
    })
    await expect(rebuildFrom(place.folder, image, [], { commit: 1 })).rejects.toMatchObject({
      code: 'POINT_UNREACHABLE',
    })
    expect((await rebuildFrom(place.folder, image, [logOf(joined)], { commit: 0 })).bytes.equals(image)).toBe(true)
  })
})

describe('damage', () => {
  test('behind the moment that was asked for does not matter; before it, it is found', async ({ place }) => {
    const history = playHistory(threeSteps)
    const image = history.states[full] as Buffer
    const plain = encodeChanges(history.steps)
    const pages = history.steps.map(({ pages }) => pages.length)
    const lastPage = Buffer.from(plain)
    lastPage[plain.length - 3] = 99
    const at = history.steps[1]?.step.capturedAt as number
    expect((pages[2] as number) > 0).toBe(true)
    const damaged = { kind: 'log' as const, plain: lastPage }
    expect((await rebuildFrom(place.folder, image, [damaged], { at })).bytes.equals(stateAt(history, at))).toBe(true)
    await expect(rebuildFrom(place.folder, image, [damaged], { at: lastAt(history) })).rejects.toMatchObject({
      code: 'MEMBER_DAMAGED',
      message: expect.stringMatching(/^0\.changes: .*another page/),
    })
  })

  test('of any byte is found, but of pages that were written again later', async ({ place }) => {
    const history = playHistory(threeSteps)
    const plain = encodeChanges(history.steps)
    await fc.assert(
      fc.asyncProperty(fc.nat(plain.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const bytes = Buffer.from(plain)
        bytes[at] = (bytes[at] as number) ^ flip
        const rebuilt = rebuildFrom(place.folder, history.states[full] as Buffer, [{ kind: 'log', plain: bytes }])
        const found = await rebuilt.catch((error: { code: string }) => error.code)
        if (typeof found !== 'string') expect(found.bytes.equals(history.states.at(-1) as Buffer)).toBe(true)
        else expect(found).toBe('MEMBER_DAMAGED')
      }),
      RUNS,
    )
  })
})

const page = (number: number, content: number) => [number, content] as const
const threeSteps = [
  {
    waitMs: 100,
    how: 'log' as const,
    commits: [
      { pageCount: 6, pages: [page(1, 2), page(2, 2)] },
      { pageCount: 8, pages: [page(2, 3), page(8, 2)] },
    ],
  },
  { waitMs: 100, how: 'log' as const, commits: [{ pageCount: 3, pages: [page(3, 3)] }] },
  {
    waitMs: 100,
    how: 'log' as const,
    commits: [
      { pageCount: 7, pages: [page(1, 3), page(7, 2)] },
      { pageCount: 7, pages: [page(4, 2)] },
    ],
  },
]
