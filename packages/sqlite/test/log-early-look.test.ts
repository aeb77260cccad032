import { setTimeout as sleep } from 'node:timers/promises'
import type { LogSource } from '@taskflow-backup/core'
import { expect } from 'vitest'
import { sqlite } from '../src/index.ts'
import { Chain } from './support/chain.ts'
import { test } from './support/place.ts'
import { exec, startApp } from './support/tracked-app.ts'
import { stateOf } from './support/tracking.ts'

test('a follower looks before it is time when 4 MiB were committed, and not for less', async ({ place }) => {
  const app = await startApp(place)
  const adapter = sqlite({ file: place.file })
  const chain = new Chain(place, adapter, '20260101-a')
  await chain.full()
  const source = (await adapter.follow?.(chain.base, { everyMs: 3_600_000 }, place.context())) as LogSource
  place.atEnd(() => source.close())
  const pendingBytes = async (): Promise<number> => (await source.status()).pendingBytes
  await exec(app, 'INSERT INTO t (v) VALUES (randomblob(2000000))')
  await sleep(500) // it glances at the length of the log some times
  expect(await pendingBytes()).toBe(0)
  await exec(app, 'INSERT INTO t (v) VALUES (randomblob(2500000))')
  await expect.poll(pendingBytes, { interval: 20 }).toBeGreaterThan(4_500_000)
  await exec(app, 'INSERT INTO t (v) VALUES (randomblob(100))')
  const log = await chain.logOf(source) // looks as well
  expect(log.source.details).toMatchObject({ firstCommit: 1, lastCommit: 3, steps: 2 })
  expect(chain.bytes.equals(stateOf(place.file).bytes)).toBe(true)
})
