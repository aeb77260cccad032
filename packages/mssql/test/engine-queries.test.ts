import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  LOADED_BYTES,
  LOADED_PIECE,
  loadFileStatement,
  UNLOAD_STATEMENT,
} from '../src/transfer/read-back-statements.ts'
import * as queries from './support/all-queries.ts'
import { BACKUPS, engineBench } from './support/engine/bench.ts'
import { useBench } from './support/engine/use-bench.ts'

const bench = useBench()
const { must, errorsOf } = bench

describe('fake SQL Server: queries', () => {
  /** Every text of the adapter, with parameters it can be asked with. */
  const texts = Object.entries(queries).flatMap(([name, text]): [string, string][] =>
    typeof text === 'string' ? [[name, text]] : [],
  )
  const params = {
    database: 'app',
    name: 'full',
    mediaSetId: 101,
    pattern: 'a%',
    path: BACKUPS,
    resource: 'r',
    firstLsn: '0',
    lastLsn: '9'.repeat(25),
    directory: `${BACKUPS}/`,
  }

  test.each(texts)('%s is answered', async (name, text) => {
    await must(bench.backup('full', 'full'))
    bench.fake.mark('app', 'release', 1)
    await fs.writeFile(join(bench.folder, 'taskflow_temp_000000000000.bak'), 'TAPE')
    const used = Object.entries(params).filter(([key]) => text.includes(`@${key}`))
    const rows = await bench.client.rows(text, Object.fromEntries(used))
    expect(rows.length).toBe(name === 'SESSIONS_OF' ? 0 : ['PHYSICAL_NAMES', 'DATABASE_FILES'].includes(name) ? 2 : 1)
  })

  test('where the chains of a database stand', async () => {
    const facts = async () => (await bench.client.rows(queries.DATABASE_FACTS, { database: 'APP' }))[0]
    expect(await facts()).toMatchObject({ name: 'app', lastLogBackupLsn: null, differentialBaseLsn: null })
    await must(bench.backup('full', 'full'))
    const [full] = await bench.client.rows(queries.LATEST_HISTORY, { database: 'app' })
    expect(await facts()).toMatchObject({
      lastLogBackupLsn: full?.firstLsn,
      differentialBaseLsn: full?.checkpointLsn,
      recoveryForkGuid: full?.lastForkGuid,
      familyGuid: full?.familyGuid,
    })
    expect(await bench.client.rows(queries.DATABASE_FACTS, { database: 'none' })).toEqual([])
  })

  test('names LIKE a prefix are compared to the letter', async () => {
    for (const name of ['a_b%', 'axb%', 'a_b[c']) bench.fake.createDatabase(name)
    const rows = await bench.client.rows(queries.DATABASES_LIKE, { pattern: queries.likePrefix('a_b') })
    expect(rows.map(({ name }) => name)).toEqual(['a_b%', 'a_b[c'])
  })

  test('who is in a database', async () => {
    bench.fake.engine.sessions.occupy('app')
    expect(await bench.client.rows(queries.SESSIONS_OF, { database: 'app' })).toMatchObject([{ login: 'guest' }])
  })

  test('a file read back in pieces through a temporary table', async () => {
    await must(bench.backup('full', "it's"))
    const file = await fs.readFile(join(bench.folder, "it's"))
    const load = loadFileStatement(`${BACKUPS}/it's`)
    await bench.client.rows(load)
    await expect(bench.client.rows(LOADED_BYTES)).rejects.toMatchObject({ number: 208 })
    await must(load)
    expect(await bench.client.rows(LOADED_BYTES)).toEqual([{ bytes: String(file.length) }])
    const pieces = await bench.client.rows(LOADED_PIECE, { from: 1025, count: 512 })
    expect(pieces).toEqual([{ piece: file.subarray(1024, 1536) }])
    await must(UNLOAD_STATEMENT)
    expect(await errorsOf(UNLOAD_STATEMENT)).toEqual([3701])
    expect(await errorsOf(loadFileStatement(`${BACKUPS}/none`))).toEqual([4860])
  })

  test('paths of Windows, time zone and clock', async () => {
    const windows = await engineBench({ serverDirectory: 'D:\\Backup', timeZoneOffsetMinutes: -300 })
    await windows.client.must(
      windows.backup('full', 'full', { devices: [{ type: 'disk', path: 'D:\\Backup\\full.bak' }] }),
    )
    expect(await fs.readdir(windows.folder)).toEqual(['full.bak'])
    windows.fake.clock.advance(3_600_000)
    const [facts] = await windows.client.rows<queries.ServerFactsRow>(queries.SERVER_FACTS)
    expect(facts).toMatchObject({ platform: 'Windows', utcOffsetMinutes: -300, login: 'sa' })
    expect(Date.parse(`${facts?.utcNow}Z`) - Date.now()).toBeGreaterThan(3_500_000)
    await windows.close()
  })
})
