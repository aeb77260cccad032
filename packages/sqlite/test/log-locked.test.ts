import { existsSync, writeFileSync } from 'node:fs'
import { followLog, listBackups, recoveryWindow, restoreBackup } from '@taskflow-backup/core'
import { expect } from 'vitest'
import { test } from './support/place.ts'
import { addTask, createTasks, tasksIn } from './support/tasks.ts'

test('while another process makes a full, flush says that the plan is locked, and what is committed waits', async ({
  place,
}) => {
  createTasks(place.file, ['before'])
  const plan = place.plan({ lockWaitMs: 0 })
  const following = await followLog(plan, { everyMs: 20, merge: false })
  place.atEnd(() => following.stop().catch(() => {})) // rejects after a failure
  const { file, backups, temporary } = place
  const [reached, open] = [place.path('reached'), place.path('open')]
  const other = await place.agent()
  const making = other.run(
    async ({ fs, library }, { file, backups, temporaryDirectory, reached, open }) => {
      const { createBackup, defineBackupPlan, directory, sqlite } = await library()
      const storage = directory(backups)
      const put: typeof storage.put = async (key, body, options) => {
        if (key.endsWith('manifest.json')) {
          fs.writeFileSync(reached, '')
          while (!fs.existsSync(open)) await new Promise((resolve) => setTimeout(resolve, 10))
        }
        return storage.put(key, body, options)
      }
      const adapter = sqlite({ file })
      const destinations = [{ ...storage, put }]
      const plan = defineBackupPlan({ name: 'tasks', adapter, destinations, temporaryDirectory, lockWaitMs: 60_000 })
      return (await createBackup(plan)).id
    },
    { file, backups, temporaryDirectory: temporary, reached, open },
  )
  await expect.poll(() => existsSync(reached)).toBe(true)
  addTask(place.file, 'meanwhile')
  await expect(following.flush()).rejects.toMatchObject({ code: 'PLAN_LOCKED', retryable: true })
  const { state, pendingBytes, lastError } = await following.health()
  expect({ state, lastError }).toMatchObject({ state: 'following', lastError: { code: 'PLAN_LOCKED' } })
  expect(pendingBytes).toBeGreaterThan(0)
  writeFileSync(open, '')
  const chain = (await making).split('/')[0]
  await following.flush()
  expect((await listBackups(plan)).backups.at(-1)).toMatchObject({ kind: 'log', chain })
  expect((await following.health()).lastError).toBeUndefined()
  await following.stop()
  expect((await recoveryWindow(plan)).chains.map(({ gaps }) => gaps)).toEqual([[], []])
  await restoreBackup(plan, { to: place.path('newest.db') })
  expect(tasksIn(place.path('newest.db'))).toEqual(['before', 'meanwhile'])
})
