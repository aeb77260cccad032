import { createBackup, memory, mergeLogs } from '@taskflow-backup/core'
import { faulty } from '@taskflow-backup/testing'
import { expect } from 'vitest'
import { test } from './support/place.ts'
import { addTask, createTasks } from './support/tasks.ts'

test('a log on a schedule reads each log of its chain once, and those that were merged as one', async ({ place }) => {
  const storage = faulty(memory())
  const plan = place.plan({ destinations: [storage] })
  createTasks(place.file, ['a'])
  await createBackup(plan)
  const log = async (): Promise<{ manifests: number; members: number }> => {
    addTask(place.file, 'another')
    storage.restart()
    expect((await createBackup(plan, { kind: 'log' })).kind).toBe('log')
    const read = storage.calls.filter(({ operation }) => operation === 'get').map(({ key }) => key)
    const manifests = read.filter((key) => key.endsWith('manifest.json')).length
    return { manifests, members: read.length - manifests }
  }
  for (let before = 0; before < 4; before++) expect(await log()).toEqual({ manifests: before + 1, members: before + 1 })
  await mergeLogs(plan, { most: 4 })
  expect(await log()).toEqual({ manifests: 2, members: 2 })
})
