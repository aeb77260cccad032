import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import sql from 'mssql'
import { describe, expect, test } from 'vitest'
import { deleteFileStatement, dropDatabaseStatement, renameDatabaseStatement } from '../src/statements/database.ts'
import { recoverStatement } from '../src/statements/restore.ts'
import { BACKUPS, disk, engineBench } from './support/engine/bench.ts'
import { connectTo } from './support/engine/client.ts'
import { error } from './support/engine/errors.ts'
import { useBench } from './support/engine/use-bench.ts'

const bench = useBench()
const { must, errorsOf, stateOf } = bench

describe('fake SQL Server: BACKUP', () => {
  test('reports progress and success', async () => {
    const { info, messages } = await must(bench.backup('full', 'full', { statsPercent: 25 }))
    expect(info).toEqual([3211, 3211, 3211, 3211, 4035, 3014])
    expect(messages[1]).toBe('50 percent processed.')
  })

  test('what cannot be backed up says why, then 3013', async () => {
    const { fake } = bench
    fake.createDatabase('simple', { recoveryModel: 'SIMPLE' })
    expect(await errorsOf(bench.backup('full', 'x', { database: 'none' }))).toEqual([911, 3013])
    expect(await errorsOf(bench.backup('log', 'x', { database: 'simple' }))).toEqual([4208, 3013])
    expect(await errorsOf(bench.backup('log', 'x'))).toEqual([4214, 3013])
    await must(bench.backup('full', 'x', { copyOnly: true }))
    expect(await errorsOf(bench.backup('log', 'x'))).toEqual([4214, 3013])
    expect(await errorsOf(bench.backup('differential', 'x'))).toEqual([3035, 3013])
    const encryption = { algorithm: 'AES_256', serverCertificate: 'none' } as const
    expect(await errorsOf(bench.backup('full', 'x', { encryption }))).toEqual([15151, 3013])
    const transaction = new sql.Transaction(bench.client.pool)
    await transaction.begin()
    await expect(new sql.Request(transaction).batch(bench.backup('full', 'x'))).rejects.toMatchObject({
      number: 3013,
      precedingErrors: [{ number: 3021 }],
    })
    await transaction.rollback()
  })

  test('leaving the full recovery model ends the chain', async () => {
    await must(bench.backup('full', 'full'))
    await must(bench.backup('log', 'log'))
    await must('ALTER DATABASE [app] SET RECOVERY SIMPLE; ALTER DATABASE [app] SET RECOVERY FULL;')
    expect(await errorsOf(bench.backup('log', 'log'))).toEqual([4214, 3013])
  })

  test('the tail of the log leaves the database restoring', async () => {
    await must(bench.backup('full', 'full'))
    bench.insert(1)
    const guest = bench.fake.engine.sessions.occupy('app')
    expect(await errorsOf(bench.backup('log', 'tail', { tailLog: true }))).toEqual([3101, 3013])
    guest.leave()
    await must(bench.backup('log', 'tail', { tailLog: true }))
    expect(stateOf('app')?.state).toBe('RESTORING')
    expect(await errorsOf(bench.backup('full', 'x'))).toEqual([927, 3013])
    await must(bench.restore('database', 'full', { database: 'app', moves: [] }))
    await must(bench.restore('log', 'tail', { database: 'app', recovery: 'recovery' }))
    expect(bench.fake.rows('app')).toEqual([1])
  })

  test('cancelled, it leaves a piece of a file and nothing in the history', async () => {
    bench.fake.engine.stepMs = 30
    const request = bench.client.pool.request()
    request.on('info', () => request.cancel())
    await expect(request.batch(bench.backup('full', 'cut'))).rejects.toMatchObject({ code: 'ECANCEL' })
    expect((await fs.readFile(join(bench.folder, 'cut'))).toString('latin1', 0, 4)).toBe('TAPE')
    expect(await errorsOf(bench.restore('database', 'cut'))).toEqual([3241, 3013])
    expect(bench.fake.engine.history.entries).toEqual([])
    expect(await errorsOf(bench.backup('log', 'log'))).toEqual([4214, 3013])
    await must(deleteFileStatement(`${BACKUPS}/cut`))
    expect(await fs.readdir(bench.folder)).toEqual([])
  })

  test('two at once of one database', async () => {
    bench.fake.engine.stepMs = 50
    const other = await connectTo(bench.fake)
    const first = bench.client.run(bench.backup('full', 'one'))
    await expect.poll(() => bench.fake.engine.databases.find('app')?.busy).toBe(true)
    expect((await other.run(bench.backup('full', 'two'))).errors).toEqual([3023, 3013])
    expect((await first).errors).toEqual([])
    await other.close()
  })

  test('S3 needs 2022', async () => {
    const old = await engineBench({ version: '15.0.4123.1' })
    const devices = [{ type: 'url', path: 's3://host/bucket/x' }] as const
    expect((await old.client.run(old.backup('full', 'x', { devices }))).errors).toEqual([3201, 3013])
    await old.close()
  })

  test('Express does not compress', async () => {
    const express = await engineBench({ edition: 'express' })
    expect((await express.client.run(express.backup('full', 'x', { compression: true }))).errors).toEqual([1844, 3013])
    await express.close()
  })
})

describe('fake SQL Server: RESTORE', () => {
  test('over another database, over its files, over somebody', async () => {
    await must(bench.backup('full', 'full'))
    bench.fake.createDatabase('other')
    const onto = (database: string, replace = false) =>
      bench.restore('database', 'full', { database, moves: [], replace })
    expect(await errorsOf(onto('copy'))).toEqual([1834, 3156, 1834, 3156, 3119, 3013])
    expect(await errorsOf(onto('other'))).toEqual([3154, 3013])
    expect(await errorsOf(onto('app'))).toEqual([3159, 3013])
    const guest = bench.fake.engine.sessions.occupy('app')
    expect(await errorsOf(onto('app', true))).toEqual([3101, 3013])
    guest.leave()
    const nowhere = [{ logicalName: 'app', path: '/nowhere/x.mdf' }]
    expect(await errorsOf(bench.restore('database', 'full', { moves: nowhere }))).toEqual([
      5133, 3156, 1834, 3156, 3119, 3013,
    ])
    const unknown = [{ logicalName: 'nothing', path: '/nowhere/x.mdf' }]
    expect(await errorsOf(bench.restore('database', 'full', { moves: unknown }))).toEqual([3234, 3013])
    expect(stateOf('copy')).toBeUndefined()
    await must(onto('app', true))
    expect(stateOf('app')?.state).toBe('RESTORING')
  })

  test('what is in the way', async () => {
    await must(bench.backup('full', 'full'))
    await must('USE [app]')
    expect(await errorsOf(bench.restore('database', 'full', { database: 'app', replace: true }))).toEqual([3102, 3013])
    await must('USE [master]')
    bench.fake.engine.disk.freeBytes = 1_000_000
    expect(await errorsOf(bench.restore('database', 'full'))).toEqual([3257, 3119, 3013])
    await must(renameDatabaseStatement('app', 'old'))
    expect(await errorsOf('CREATE DATABASE [app]')).toEqual([5170])
  })

  test('that fails halfway leaves the database restoring, until it is dropped', async () => {
    await must(bench.backup('full', 'full'))
    bench.fake.fail('RESTORE DATABASE', [error(3203, 'Read on "x" failed: 23(Data error.)')], { at: 'middle' })
    expect(await errorsOf(bench.restore('database', 'full'))).toEqual([3203, 3013])
    expect(stateOf('copy')?.state).toBe('RESTORING')
    expect(await errorsOf(renameDatabaseStatement('copy', 'x'))).toEqual([5052, 5069])
    expect(await errorsOf(recoverStatement('copy'))).toEqual([4333, 3013])
    await must(dropDatabaseStatement('copy'))
    expect(stateOf('copy')).toBeUndefined()
  })

  test('a backup of a newer server', async () => {
    const newer = await engineBench({ version: '17.0.1000.7' })
    await newer.client.must(newer.backup('full', 'full'))
    await fs.copyFile(join(newer.folder, 'full'), join(bench.folder, 'full'))
    await newer.close()
    expect(await errorsOf(bench.restore('database', 'full'))).toEqual([3169, 3013])
  })
})

describe('fake SQL Server: ordered faults', () => {
  test('before, half through and after, once or more often', async () => {
    const { fake } = bench
    const full = [error(9002, 'The transaction log is full.', 17)]
    fake.fail('BACKUP DATABASE [app]', full, { times: 2, skip: 1 })
    const statement = bench.backup('full', 'full')
    expect([await errorsOf(statement), await errorsOf(statement), await errorsOf(statement)]).toEqual([
      [],
      [9002],
      [9002],
    ])
    fake.fail(/^BACKUP/, full, { at: 'middle' })
    expect(await errorsOf(statement)).toEqual([9002, 3013])
    fake.fail(/^ALTER/, full, { at: 'after' })
    expect(await errorsOf(renameDatabaseStatement('app', 'new'))).toEqual([9002])
    expect(stateOf('new')).toBeDefined()
  })

  test('a dropped connection, after its work was done', async () => {
    bench.fake.fail(/^BACKUP/, 'drop', { at: 'after' })
    expect(await errorsOf(bench.backup('full', 'full'))).toHaveLength(1)
    expect(bench.fake.engine.history.entries).toHaveLength(1)
  })

  test('a server that says nothing more, until it is cancelled', async () => {
    bench.fake.fail(/^BACKUP/, 'hang')
    const request = bench.client.pool.request()
    const running = request.batch(bench.backup('full', 'x', { devices: [disk('x')] }))
    running.catch(() => {})
    await expect.poll(() => bench.fake.engine.faults.pending).toBe(0)
    request.cancel()
    await expect(running).rejects.toMatchObject({ code: 'ECANCEL' })
    expect(await errorsOf(bench.backup('full', 'full'))).toEqual([])
  })
})
