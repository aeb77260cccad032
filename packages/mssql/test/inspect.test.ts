import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { type AdapterContext, BackupError, decodeMember, type Finding, type Manifest } from '@taskflow-backup/core'
import { afterEach, describe, expect, test } from 'vitest'
import { readDetails } from '../src/details.ts'
import type { MssqlOptions } from '../src/options.ts'
import { type BackupSite, backupSite, SERVER_DIRECTORY } from './support/backup-site.ts'

let site: BackupSite
afterEach(() => site?.destroy())

const ON_SERVER = { transfer: { type: 'on-server', serverDirectory: SERVER_DIRECTORY } } as const
const warnings: string[] = []

function context(signal = new AbortController().signal): AdapterContext {
  const onWarning = (message: string): void => void warnings.push(message)
  return { ...site.plan().runtime, signal, onProgress: () => {}, onWarning }
}

/** The plain content of a backup's only member. */
async function memberOf({ id, members }: Manifest): Promise<{ name: string; bytes: Buffer }> {
  const [member] = members
  if (!member) throw new Error('no member')
  const stored = await site.storage.get(`app/${id}/${member.file}`)
  return {
    name: member.name,
    bytes: Buffer.concat((await decodeMember(member, stored, () => {}).toArray()) as Buffer[]),
  }
}

const inspect = async (
  name: string,
  bytes: Buffer,
  options: Partial<MssqlOptions> = {},
): Promise<readonly Finding[]> => {
  const body = Readable.from([bytes], { objectMode: false })
  return site.adapter(options).inspect({ name, body, plainBytes: bytes.length }, context())
}

/** A full of about this size. */
async function fullOf(paddingBytes: number): Promise<{ name: string; bytes: Buffer }> {
  site = await backupSite()
  Object.assign(site.database, { paddingBytes })
  const { manifest } = await site.backup()
  return memberOf(manifest)
}

describe('fake SQL Server: inspecting a member without a server', () => {
  test.each([
    ['small, in this process', 1000],
    ['large, in a child', 2_000_000],
  ])('a file that is whole, and one that is not: %s', async (_, paddingBytes) => {
    const { name, bytes } = await fullOf(paddingBytes)
    await site.server.close()
    expect(await inspect(name, bytes)).toEqual([
      { check: 'backup-format', severity: 'ok', message: expect.stringMatching(/ is a full backup of Task\]Flow by /) },
    ])
    const flipped = Buffer.from(bytes)
    flipped[10] = (flipped[10] as number) ^ 1
    for (const damaged of [bytes.subarray(0, bytes.length - 700), flipped, Buffer.alloc(0), Buffer.alloc(5000)])
      expect(await inspect(name, damaged)).toMatchObject([{ severity: 'error', code: 'MEMBER_DAMAGED' }])
  })

  test('a storage that breaks off is the reason, not what arrived of it', async () => {
    const { name, bytes } = await fullOf(2_000_000)
    async function* broken(): AsyncGenerator<Buffer> {
      yield bytes.subarray(0, 1_000_000)
      throw new BackupError('STORAGE_FAILED', 'The storage broke off.')
    }
    const body = Readable.from(broken(), { objectMode: false })
    const inspecting = site.adapter().inspect({ name, body, plainBytes: bytes.length }, context())
    await expect(inspecting).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
  })
})

describe('fake SQL Server: a backup that stays on the server', () => {
  test('is verified by the server', async () => {
    site = await backupSite(ON_SERVER)
    const { manifest } = await site.backup()
    const { name, bytes } = await memberOf(manifest)
    expect(await inspect(name, bytes)).toMatchObject([{ check: 'restore-verifyonly', severity: 'ok' }])
    expect(site.server.statements().at(-1)).toMatch(/^RESTORE VERIFYONLY FROM DISK = N'.*' WITH CHECKSUM/)
    const [path = ''] = readDetails(manifest).devices ?? []
    const local = join(site.folder, path.slice(SERVER_DIRECTORY.length))
    await writeFile(local, 'not a backup any more')
    expect(await inspect(name, bytes)).toMatchObject([{ severity: 'error', code: 'MEMBER_DAMAGED' }])
    await rm(local)
    expect(await inspect(name, bytes)).toMatchObject([{ severity: 'error', message: expect.stringContaining('3201') }])
  })

  test.each([
    ['no JSON', Buffer.from('{')],
    ['another JSON', Buffer.from('{"format":"other"}')],
    ['null', Buffer.from('null')],
    ['no files', Buffer.from('{"format":"taskflow-backup/mssql-on-server","version":1,"devices":[]}')],
    ['odd files', Buffer.from('{"format":"taskflow-backup/mssql-on-server","version":1,"devices":[null]}')],
    [
      'odd kind of file',
      Buffer.from('{"format":"taskflow-backup/mssql-on-server","version":1,"devices":[{"type":"tape","path":"x"}]}'),
    ],
    ['too long', Buffer.alloc(1_000_000, 32)],
  ])('a record that tells nothing: %s', async (_, bytes) => {
    site = await backupSite(ON_SERVER)
    const found = await inspect('app.json', bytes).catch((error: unknown) => [error])
    expect(found).toMatchObject([{ code: 'MEMBER_DAMAGED' }])
    expect(site.server.statements()).toEqual([])
  })

  test('is removed by forget, which does not mind that it is gone', async () => {
    site = await backupSite({ ...ON_SERVER, stripes: 2 })
    const { manifest } = await site.backup()
    expect(await site.files()).toHaveLength(2)
    await site.adapter().forget?.(manifest, context())
    expect(await site.files()).toEqual([])
    await site.adapter().forget?.(manifest, context())
  })

  test('forget leaves files alone that are none of ours', async () => {
    site = await backupSite(ON_SERVER)
    const { manifest } = await site.backup()
    const foreign = structuredClone(manifest) as { source: { details: { devices: string[] } } } & Manifest
    foreign.source.details.devices = [`${SERVER_DIRECTORY}/precious.bak`]
    await writeFile(join(site.folder, 'precious.bak'), 'TAPE')
    await expect(site.adapter().forget?.(foreign, context())).rejects.toMatchObject({ code: 'MANIFEST_DAMAGED' })
    expect(await site.files()).toContain('precious.bak')
  })

  test('forget asks no server for what is in the destinations, and tells what is at a URL', async () => {
    site = await backupSite()
    const { manifest } = await site.backup()
    const atUrl = await site.backup('full', { transfer: { type: 'url', url: 's3://minio:9000/backups' } })
    await site.server.close()
    warnings.length = 0
    await site.adapter().forget?.(manifest, context())
    expect(warnings).toEqual([])
    await site.adapter().forget?.(atUrl.manifest, context())
    expect(warnings.join()).toContain('s3://minio:9000/backups/app_backup_')
  })
})
