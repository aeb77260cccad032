import { truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { restoreBackup, verifyBackup } from '@taskflow-backup/core'
import { afterEach, describe, expect, test } from 'vitest'
import { type BackupSite, backupSite, DATABASE, PASSWORD, SERVER_DIRECTORY } from './support/backup-site.ts'

let site: BackupSite
afterEach(() => site?.destroy())

async function futureSite(version = '18.0.1000.0'): Promise<void> {
  site = await backupSite({}, { version })
  Object.assign(site.database, { paddingBytes: 100_000 })
  site.server.engine.writesFuture = true
}
const warnings = (): string => site.events.flatMap((event) => (event.type === 'warning' ? [event.message] : [])).join()
const damaged = (text: string) => ({ code: 'MEMBER_DAMAGED', message: expect.stringContaining(text) })

describe('fake SQL Server of a version whose files our reader does not know', () => {
  test.each([
    ['a shared folder', { transfer: undefined }],
    ['read-back', { transfer: { type: 'read-back', serverDirectory: SERVER_DIRECTORY } as const }],
  ])('backs up through %s, and the manifest says that the server vouches', async (_, { transfer }) => {
    await futureSite()
    const { id, manifest } = await site.backup('full', { stripes: 2, ...(transfer && { transfer }) })
    expect(manifest.notes.join()).toContain('may be of a version that our reader does not know')
    expect(manifest.source.details).toMatchObject({
      unread: manifest.members.map(({ name }) => ({ member: name, reason: expect.stringContaining('at byte') })),
    })
    expect(warnings()).toContain('Let verifyBackup restore it')
    const { destinations } = await verifyBackup(site.plan(), { id, level: 'decoded' })
    const findings = destinations.flatMap((destination) => destination.findings)
    expect(findings.filter(({ check }) => check === 'backup-format').map(({ severity }) => severity)).toEqual([
      'warning',
      'warning',
    ])
    await verifyBackup(site.plan(), { id, level: 'restored' })
    await restoreBackup(site.plan(), { to: 'copy' })
    expect(site.server.rows('copy')).toEqual(site.server.rows(DATABASE))
    expect(await site.files()).toEqual([])
  })

  /** Something happens to the file between the server and us. */
  async function whenWritten(change: (file: string) => Promise<void>): Promise<void> {
    const { history } = site.server.engine
    const add = history.add.bind(history)
    let changed: Promise<void> | undefined
    history.add = (header, devices, bytes) => {
      add(header, devices, bytes)
      changed = change(join(site.folder, devices[0]?.path.split('/').at(-1) ?? ''))
    }
    await expect.poll(() => changed !== undefined).toBe(true)
    await changed
  }

  test('a file that is cut short on the server is caught', async () => {
    await futureSite()
    const made = site.backup().catch((error: unknown) => error)
    await whenWritten((file) => truncate(file, 20_480))
    expect(await made).toMatchObject(damaged('The server does not vouch for it'))
    expect(await site.keys()).toEqual([])
    expect(await site.files()).toEqual([])
  })

  test('a file of which less came here than there is is caught', async () => {
    await futureSite()
    const { disk } = site.server.engine
    const list = disk.list.bind(disk)
    disk.list = (path) => list(path).map((file) => ({ ...file, bytes: file.bytes + 512 }))
    await expect(site.backup()).rejects.toMatchObject(damaged('bytes there, and'))
    expect(await site.keys()).toEqual([])
  })

  test('a login that may not ask is told which right it lacks', async () => {
    await futureSite()
    site.server.addLogin('clerk', { password: PASSWORD, permissions: ['BACKUP DATABASE'] })
    await expect(site.backup('full', { connection: { ...site.server.config, user: 'clerk' } })).rejects.toMatchObject({
      ...damaged('how long the file is'),
      hint: expect.stringContaining('VIEW SERVER STATE'),
    })
  })

  test('of a version that the reader is proven on, such a file is damaged', async () => {
    await futureSite('13.0.5026.0')
    await expect(site.backup()).rejects.toMatchObject(damaged('is no whole backup of SQL Server'))
    expect(site.server.statements().filter((text) => text.startsWith('RESTORE'))).toEqual([])
  })

  test('damage that came later is an error', async () => {
    await futureSite()
    const { manifest } = await site.backup()
    const [member] = manifest.members
    const { details } = manifest.source
    const bytes = Buffer.alloc(4096)
    const body = Readable.from([bytes], { objectMode: false })
    const ctx = { ...site.plan().runtime, signal: new AbortController().signal, onProgress() {}, onWarning() {} }
    const findings = await site
      .adapter()
      .inspect({ name: member?.name ?? '', body, plainBytes: bytes.length, ...(details && { details }) }, ctx)
    expect(findings).toMatchObject([{ severity: 'error', code: 'MEMBER_DAMAGED' }])
  })
})
