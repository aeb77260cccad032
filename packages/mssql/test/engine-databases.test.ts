import { describe, expect, test } from 'vitest'
import {
  checkDatabaseStatement,
  deleteFileStatement,
  dropDatabaseStatement,
  multiUserStatement,
  renameDatabaseStatement,
  singleUserStatement,
} from '../src/statements/database.ts'
import * as queries from './support/all-queries.ts'
import { BACKUPS, PASSWORD } from './support/engine/bench.ts'
import { connectTo } from './support/engine/client.ts'
import { error } from './support/engine/errors.ts'
import { useBench } from './support/engine/use-bench.ts'

const bench = useBench()
const { must, errorsOf, stateOf } = bench

describe('fake SQL Server: databases and sessions', () => {
  test('one user only: others are in the way, or are ended', async () => {
    const other = await connectTo(bench.fake, { database: 'app' })
    expect(await errorsOf(singleUserStatement('app', 'no-wait'))).toEqual([5070, 5069])
    expect(await errorsOf(renameDatabaseStatement('app', 'x'))).toEqual([5030, 5069])
    expect(await errorsOf(dropDatabaseStatement('app'))).toEqual([3702])
    await must(singleUserStatement('app', 'rollback'))
    await expect.poll(() => bench.fake.sessions.map(({ database }) => database)).toEqual(['master'])
    await other.close()
    expect(stateOf('app')?.access).toBe('SINGLE_USER')
    const guest = bench.fake.engine.sessions.occupy('app')
    await expect(connectTo(bench.fake, { database: 'app' })).rejects.toMatchObject({ code: 'ELOGIN' })
    expect(await errorsOf('USE [app]')).toEqual([924])
    expect(await errorsOf(multiUserStatement('app'))).toEqual([5064, 5069])
    await must(multiUserStatement('app', 'rollback'))
    expect([guest.killed, stateOf('app')?.access]).toEqual([true, 'MULTI_USER'])
  })

  test('opening to all what is open to all ends nobody', async () => {
    const guest = bench.fake.engine.sessions.occupy('app')
    await must(multiUserStatement('app', 'rollback'))
    expect(guest.killed).toBe(false)
  })

  test('a statement that fails does not keep the next one of its batch from being run', async () => {
    const guest = bench.fake.engine.sessions.occupy('app')
    const batch = `${singleUserStatement('app', 'no-wait')} CREATE DATABASE [next]; USE [none]; CREATE DATABASE [never];`
    expect(await errorsOf(batch)).toEqual([5070, 5069, 911])
    expect(bench.fake.databases().map(({ name }) => name)).toEqual(['app', 'next'])
    guest.leave()
    bench.fake.fail('MODIFY NAME', [error(1205, 'Deadlock.')])
    const swap = `${singleUserStatement('app', 'no-wait')} ${renameDatabaseStatement('app', 'x')}`
    expect(await errorsOf(swap)).toEqual([1205])
    expect(stateOf('app')?.access).toBe('SINGLE_USER')
    expect(bench.fake.statements().slice(-2)).toEqual([
      'ALTER DATABASE [app] SET SINGLE_USER WITH NO_WAIT',
      'ALTER DATABASE [app] MODIFY NAME = [x]',
    ])
  })

  test('a session renames the database that it is in', async () => {
    await must(`USE [app]; ${renameDatabaseStatement('app', 'x')}`)
    const other = await connectTo(bench.fake)
    expect((await other.run(dropDatabaseStatement('x'))).errors).toEqual([3702])
    await other.close()
    await must('USE [master]')
    await must(dropDatabaseStatement('x'))
  })

  test('renames and drops', async () => {
    bench.fake.createDatabase('taken')
    expect(await errorsOf(renameDatabaseStatement('app', 'Taken'))).toEqual([1801, 5069])
    await must(renameDatabaseStatement('app', 'wei]rd'))
    await must(dropDatabaseStatement('wei]rd'))
    expect(bench.fake.databases().map(({ name }) => name)).toEqual(['taken'])
    expect(await errorsOf(dropDatabaseStatement('wei]rd'))).toEqual([3701])
  })

  test('DBCC CHECKDB finds damage, in a restored copy as well', async () => {
    await must(checkDatabaseStatement('app'))
    const database = bench.fake.engine.databases.find('app')
    if (database) database.damaged = true
    await must(bench.backup('full', 'full'))
    await must(bench.restore('database', 'full', { recovery: 'recovery' }))
    expect(await errorsOf(checkDatabaseStatement('copy', { physicalOnly: true }))).toEqual([8939])
  })

  test('application locks belong to a session and end with it', async () => {
    const other = await connectTo(bench.fake)
    const ask = (client: typeof other, query: string) => client.rows(query, { resource: 'lock' })
    expect(await ask(other, queries.TAKE_APP_LOCK)).toEqual([{ result: 0 }])
    expect(await ask(bench.client, queries.TAKE_APP_LOCK)).toEqual([{ result: -1 }])
    expect(await ask(bench.client, queries.TEST_APP_LOCK)).toEqual([{ isFree: false }])
    expect(await ask(other, queries.TEST_APP_LOCK)).toEqual([{ isFree: true }])
    expect(await ask(bench.client, queries.RELEASE_APP_LOCK)).toEqual([{ result: -999 }])
    await other.close()
    await expect.poll(() => ask(bench.client, queries.TAKE_APP_LOCK)).toEqual([{ result: 0 }])
    expect(await ask(bench.client, queries.RELEASE_APP_LOCK)).toEqual([{ result: 0 }])
  })

  test('a login may do what it was given', async () => {
    bench.fake.addLogin('backup', { password: PASSWORD, permissions: ['BACKUP DATABASE'] })
    const limited = await connectTo(bench.fake, { user: 'backup' })
    expect((await limited.run(bench.backup('full', 'full'))).errors).toEqual([])
    expect((await limited.run(bench.backup('log', 'log'))).errors).toEqual([262, 3013])
    expect((await limited.run(bench.restore('database', 'full'))).errors).toEqual([262, 3013])
    const over = bench.restore('database', 'full', { database: 'app', moves: [] })
    expect((await limited.run(over)).errors).toEqual([3110, 3013])
    expect((await limited.run(renameDatabaseStatement('app', 'x'))).errors).toEqual([5011])
    expect((await limited.run(deleteFileStatement(`${BACKUPS}/full`))).errors).toEqual([229])
    expect(await limited.rows(queries.PERMISSIONS, { database: 'app' })).toMatchObject([
      { backupDatabase: true, backupLog: false, isSysadmin: false },
    ])
    expect(await limited.rows(queries.FILE_EXISTS_2016, { path: `${BACKUPS}/full` })).toMatchObject([
      { fileExists: false },
    ])
    await expect(limited.rows(queries.FILE_EXISTS, { path: 'x' })).rejects.toMatchObject({ number: 297 })
    await limited.close()
  })

  test('unknown statements, options and databases are errors', async () => {
    for (const [statement, number] of [
      ['SHUTDOWN', 102],
      ['SELECT name FROM sys.databases', 102],
      ["BACKUP DATABASE [app] TO DISK = N'x' WITH FORMAT, NONSENSE", 155],
      ["BACKUP DATABASE [app] TO DISK = N'x", 105],
      ['USE [none]', 911],
      ["EXECUTE master.sys.xp_cmdshell N'dir'", 2812],
    ] as const)
      expect(await errorsOf(statement)).toEqual([number])
  })
})
