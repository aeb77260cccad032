import { readdir, readFile, utimes, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { createBackup, pruneBackups, restoreBackup, verifyBackup } from '@taskflow-backup/core'
import { expect } from 'vitest'
import { catalogueFolder } from '../../src/backup-folder.ts'
import { type BackupHeader, type ChainPlan, planChain } from '../../src/chain.ts'
import { type MssqlDetails, readDetails } from '../../src/details.ts'
import { formatPosition, parseLsn } from '../../src/lsn.ts'
import { type MtfFile, scanFile } from '../../src/mtf/index.ts'
import { SectorSum } from '../../src/mtf/sector-sum.ts'
import { type FileListRow, Placement, placeNewFiles } from '../../src/restore/files.ts'
import { SERVER_FACTS, type ServerFactsRow } from '../../src/statements/queries/server.ts'
import { fileListStatement, type RestoreStatement, restoreStatement } from '../../src/statements/restore.ts'
import { onServer } from '../../src/transfer/names.ts'
import { headersOf } from './mtf-walk.ts'
import { expectNothingLeft, expectSound, planFor } from './server-scenarios.ts'
import { FIRST_TITLE, type ServerUnderTest } from './server-under-test.ts'

// What a server writes, read by it and by us: the files stay where it wrote them.

/** What was found about a sum that nobody documents. */
export interface SumReport {
  readonly build: string
  /** Streams of data with a checksum. */
  readonly streams: number
  /** Those of which our sum is the server's. */
  readonly matched: number
}

/** The reader of files, msdb and RESTORE HEADERONLY say the same of every kind; the server verifies each. */
export async function agreesOnFiles(server: ServerUnderTest, live: string): Promise<SumReport> {
  await server.createDatabase(live)
  const { serverDirectory, localDirectory } = server.folder
  const transfer = { type: 'on-server', serverDirectory } as const
  const plan = planFor(server, live, { transfer, nativeCompression: false })
  const report = { build: '', streams: 0, matched: 0 }
  for (const kind of ['full', 'differential', 'log'] as const) {
    await server.insert(live, kind)
    const { id, manifest } = await createBackup(plan, { kind })
    const { name, contents } = await scanOnly(readDetails(manifest), localDirectory)
    const [set] = contents.sets
    expect(contents).toMatchObject({ compressed: false, media: { single: true } })
    expect(contents.sets).toHaveLength(1)
    const { firstLsn, lastLsn, checkpointLsn, databaseBackupLsn } = readDetails(manifest)
    const facts = { firstLsn, lastLsn, checkpointLsn, databaseBackupLsn }
    expect(set).toMatchObject({ name: id, kind, database: live, hasChecksums: true })
    expect({
      firstLsn: formatPosition(set?.firstLsn ?? 0n),
      lastLsn: formatPosition(set?.lastLsn ?? 0n),
      checkpointLsn: formatPosition(set?.checkpointLsn ?? 0n),
      databaseBackupLsn: formatPosition(set?.databaseBackupLsn ?? 0n),
    }).toEqual(facts)
    const row = await server.header({ type: 'disk', path: onServer(serverDirectory, name) })
    expect(row.DatabaseName).toBe(live)
    expect({
      firstLsn: formatPosition(parseLsn(row.FirstLSN)),
      lastLsn: formatPosition(parseLsn(row.LastLSN)),
      checkpointLsn: formatPosition(parseLsn(row.CheckpointLSN)),
      databaseBackupLsn: formatPosition(parseLsn(row.DatabaseBackupLSN)),
    }).toEqual(facts)
    await verifyBackup(plan, { id, level: 'decoded' })
    const sums = sumsOf(await readFile(join(localDirectory, name)))
    report.build = set?.build ?? ''
    report.streams += sums.length
    report.matched += sums.filter((same) => same).length
  }
  await agreesOnCompressed(server, live)
  return report
}

async function agreesOnCompressed(server: ServerUnderTest, live: string): Promise<void> {
  const { serverDirectory, localDirectory } = server.folder
  const plan = planFor(server, live, { transfer: { type: 'on-server', serverDirectory }, nativeCompression: true })
  const { id, manifest } = await createBackup(plan)
  const { name, contents } = await scanOnly(readDetails(manifest), localDirectory)
  expect(contents).toMatchObject({ compressed: true, sets: [] })
  const row = await server.header({ type: 'disk', path: onServer(serverDirectory, name) })
  expect(formatPosition(parseLsn(row.LastLSN))).toBe(readDetails(manifest).lastLsn)
  await verifyBackup(plan, { id, level: 'decoded' })
}

async function scanOnly(
  { devices = [] }: MssqlDetails,
  folder: string,
): Promise<{ readonly name: string; readonly contents: MtfFile }> {
  expect(devices).toHaveLength(1)
  const name = basename(devices[0] as string)
  return { name, contents: await scanFile(join(folder, name), { everything: true }) }
}

/** For every checksum of one stream of data: whether it is ours. */
function sumsOf(file: Buffer): boolean[] {
  const same: boolean[] = []
  let data: Buffer[] = []
  for (const { id, at, bytes } of headersOf(file).streams) {
    const start = at + bytes
    const payload = file.subarray(start, start + Number(file.readBigUInt64LE(at + 8)))
    if (id === 'SPAD') data = [] // the last one of a block
    if ((id === 'MQDA' || id === 'MQTL') && payload.length > 0) data.push(payload)
    if (id !== 'CSUM' || data.length !== 1) continue
    const sum = new SectorSum()
    sum.update(data[0] as Buffer)
    same.push(sum.digest() === payload.readUInt32LE(0))
  }
  return same
}

/** A folder of files is enough to find a marked transaction, and to stop at it or before it. */
export async function recoversToAMark(server: ServerUnderTest, live: string): Promise<void> {
  await server.createDatabase(live)
  const { serverDirectory, localDirectory } = server.folder
  const transfer = { type: 'on-server', serverDirectory } as const
  const plan = planFor(server, live, { transfer, nativeCompression: false })
  await createBackup(plan)
  await server.insert(live, 'before')
  await createBackup(plan, { kind: 'log' })
  await server.insertMarked(live, "it's [here]", 'marked')
  await server.insert(live, 'after')
  await createBackup(plan, { kind: 'log' })
  const { backups, problems } = await catalogueFolder(localDirectory)
  expect(problems).toEqual([])
  expect(backups).toHaveLength((await readdir(localDirectory)).length)
  const until = async (name: string, before: boolean): Promise<string[]> => {
    const mark = { mark: "it's [here]", before }
    const chain = planChain(backups, { database: live, mark })
    expect(chain.logs).toHaveLength(2)
    await restoreByHand(server, chain, name, before ? { stopBeforeMark: mark } : { stopAtMark: mark })
    return server.titles(name)
  }
  expect(await until(`${live} at`, false)).toEqual([FIRST_TITLE, 'before', 'marked'])
  expect(await until(`${live} before`, true)).toEqual([FIRST_TITLE, 'before'])
}

/** Stopped at a marked transaction that msdb told of, and before it. */
export async function recoversToAMarkOfMsdb(server: ServerUnderTest, live: string): Promise<void> {
  await server.createDatabase(live)
  const plan = planFor(server, live)
  await createBackup(plan)
  await server.insert(live, 'before')
  await createBackup(plan, { kind: 'log' })
  await server.insertMarked(live, "it's [here]", 'marked')
  await server.insert(live, 'after')
  const { manifest } = await createBackup(plan, { kind: 'log' })
  expect(readDetails(manifest).marks).toMatchObject([{ name: "it's [here]" }])
  await createBackup(plan, { kind: 'log' })
  const until = async (name: string, before: boolean): Promise<string[]> => {
    expectSound((await restoreBackup(plan, { to: { database: name, stopAtMark: "it's [here]", before } })).findings)
    return server.titles(name)
  }
  expect(await until(`${live} at`, false)).toEqual([FIRST_TITLE, 'before', 'marked'])
  expect(await until(`${live} before`, true)).toEqual([FIRST_TITLE, 'before'])
  await expectNothingLeft(server, live)
}

/** What killed backups left in the folder of the server goes with a prune; what is younger, or not ours, stays. */
export async function removesWhatWasLeft(server: ServerUnderTest, live: string): Promise<void> {
  await server.createDatabase(live)
  const { serverDirectory, localDirectory, fileMode } = server.folder
  const plan = planFor(server, live, { transfer: { type: 'on-server', serverDirectory } })
  await createBackup(plan)
  const [whole = ''] = await readdir(localDirectory)
  const start = (await readFile(join(localDirectory, whole))).subarray(0, 1000)
  const left = ['taskflow_temp_dead00000000.bak', 'tasks_backup_20260101_000000_dead00000000.bak']
  const others = ['taskflow_temp_young0000000.bak', 'nightly.bak']
  for (const name of [...left, ...others]) {
    await writeFile(join(localDirectory, name), start, { mode: fileMode })
    if (!name.includes('young')) await utimes(join(localDirectory, name), 0, 0)
  }
  const { restoreLeftovers } = await pruneBackups(plan)
  expect([...restoreLeftovers].sort()).toEqual(left.map((name) => onServer(serverDirectory, name)).sort())
  expect((await readdir(localDirectory)).sort()).toEqual([whole, ...others].sort())
}

/** What an administrator does with the plan of a folder. */
async function restoreByHand(
  { client, folder }: ServerUnderTest,
  { full, differential, logs }: ChainPlan,
  database: string,
  stop: Pick<RestoreStatement, 'stopAtMark' | 'stopBeforeMark'>,
): Promise<void> {
  const [facts] = await client.rows<ServerFactsRow>(SERVER_FACTS)
  if (!facts) throw new Error('the server does not tell its folders')
  const placement = new Placement(
    placeNewFiles({ restore: { method: 'swap' } }, facts, { target: database, workId: 'by_hand' }),
  )
  const backups: BackupHeader[] = [full, ...(differential ? [differential] : []), ...logs]
  for (const [index, { kind, files }] of backups.entries()) {
    const devices = files.map(
      (file) => ({ type: 'disk', path: onServer(folder.serverDirectory, basename(file)) }) as const,
    )
    const isLast = index === backups.length - 1
    await client.must(
      restoreStatement({
        what: kind === 'log' ? 'log' : 'database',
        database,
        devices,
        moves: placement.movesFor(await client.rows<FileListRow>(fileListStatement(devices))),
        recovery: isLast ? 'recovery' : 'norecovery',
        checksum: true,
        statsPercent: 50,
        ...(isLast && stop),
      }),
    )
  }
}
