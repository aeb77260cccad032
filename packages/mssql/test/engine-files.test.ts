import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type MtfFile, MtfScanner } from '../src/mtf/index.ts'
import { fileListStatement, headerStatement, verifyStatement } from '../src/statements/restore.ts'
import { BACKUPS, disk } from './support/engine/bench.ts'
import { useBench } from './support/engine/use-bench.ts'

const bench = useBench({ timeZoneOffsetMinutes: 120 })
const { must, errorsOf, historyOf, restored } = bench

async function scanned(name: string): Promise<MtfFile> {
  const scanner = new MtfScanner(name)
  scanner.update(await fs.readFile(join(bench.folder, name)))
  return scanner.end()
}

describe('fake SQL Server: its files', () => {
  test('stripes and compression restore; a missing stripe, damage and a cut file do not', async () => {
    bench.fake.createDatabase('large', { paddingBytes: 3_000_000 })
    bench.fake.insert('large', 'row')
    const devices = [1, 2, 3].map((stripe) => disk(`stripe${stripe}`))
    const moves = ['large', 'large_log'].map((logicalName) => ({
      logicalName,
      path: `/var/opt/mssql/data/${logicalName}.2`,
    }))
    await must(bench.backup('full', 'striped', { database: 'large', devices, compression: true }))
    const sizes = await Promise.all(['1', '2', '3'].map((stripe) => fs.stat(join(bench.folder, `stripe${stripe}`))))
    expect(Math.min(...sizes.map(({ size }) => size))).toBeGreaterThan(900_000)
    expect(await restored(bench.restore('database', '', { devices, moves, recovery: 'norecovery' }))).toEqual(['row'])
    expect(await errorsOf(verifyStatement(devices.slice(0, 2)))).toEqual([3132, 3013])
    await must(bench.backup('full', 'plain', { database: 'large' }))
    const path = join(bench.folder, 'plain')
    const file = await fs.readFile(path)
    file.writeUInt8(file.readUInt8(1_000_000) ^ 1, 1_000_000)
    await fs.writeFile(path, file)
    expect(await errorsOf(verifyStatement([disk('plain')]))).toEqual([3189, 3013])
    await fs.truncate(path, 2_000_000)
    expect(await errorsOf(verifyStatement([disk('plain')]))).toEqual([3203, 3013])
    await fs.writeFile(path, 'something else')
    expect(await errorsOf(verifyStatement([disk('plain')]))).toEqual([3241, 3013])
    expect(await errorsOf(verifyStatement([disk('nowhere')]))).toEqual([3201, 3013])
  })

  test('are read by the reader of backup files, and tell the same as the history', async () => {
    await must(bench.backup('full', 'full'))
    await must(bench.backup('differential', 'diff'))
    await must(bench.backup('log', 'log'))
    const tells = async (name: string) => {
      const row = await historyOf(name)
      return {
        ...{
          database: 'app',
          name,
          user: 'sa',
          hasChecksums: true,
          familyGuid: row.familyGuid,
          setGuid: row.backupSetGuid,
        },
        ...{ firstLsn: BigInt(row.firstLsn ?? 0), lastLsn: BigInt(row.lastLsn ?? 0) },
        ...{ checkpointLsn: BigInt(row.checkpointLsn ?? 0), databaseBackupLsn: BigInt(row.databaseBackupLsn ?? 0) },
        ...{ startedAt: row.startedAt, finishedAt: row.finishedAt, lastForkGuid: row.lastForkGuid },
      }
    }
    for (const [name, kind] of [
      ['full', 'full'],
      ['diff', 'differential'],
      ['log', 'log'],
    ] as const)
      expect(await scanned(name)).toMatchObject({ compressed: false, sets: [{ kind, ...(await tells(name)) }] })
    await must(bench.backup('full', 'compressed', { compression: true }))
    expect(await scanned('compressed')).toMatchObject({ compressed: true, sets: [] })
  })

  test('HEADERONLY, FILELISTONLY and VERIFYONLY', async () => {
    await must(bench.backup('full', 'full', { description: 'what it is' }))
    const [header] = await bench.client.rows(headerStatement([disk('full')]))
    expect(header).toMatchObject({ BackupType: 1, DatabaseName: 'app', BackupDescription: 'what it is' })
    const files = await bench.client.rows(fileListStatement([disk('full')]))
    expect(files).toMatchObject([
      { LogicalName: 'app', Type: 'D', PhysicalName: '/var/opt/mssql/data/app.mdf' },
      { LogicalName: 'app_log', Type: 'L' },
    ])
    expect((await must(verifyStatement([disk('full')]))).info).toEqual([...Array(20).fill(3211), 3262])
  })

  test('URLs', async () => {
    const devices = [{ type: 'url', path: 's3://host/bucket/full.bak' }] as const
    bench.insert(1)
    await must(bench.backup('full', 'full', { devices }))
    expect(await restored(bench.restore('database', '', { devices }))).toEqual([1])
    expect(await fs.readdir(bench.folder)).toEqual([])
  })

  test('a full disk, a folder that is not there, and a path outside of the folder', async () => {
    bench.fake.engine.disk.freeBytes = 5000
    expect(await errorsOf(bench.backup('full', 'full'))).toEqual([3202, 3013])
    bench.fake.engine.disk.freeBytes = Number.POSITIVE_INFINITY
    for (const path of [`${BACKUPS}/none/x`, '/elsewhere/x', `${BACKUPS}/../x`]) {
      const { errors, messages } = await bench.client.run(
        bench.backup('full', 'x', { devices: [{ type: 'disk', path }] }),
      )
      expect(errors).toEqual([3201, 3013])
      expect(messages[0]).toContain('Operating system error 3(')
    }
  })
})
