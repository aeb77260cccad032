import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { physicalSite, plainMembers } from './support/physical.ts'
import { RUN_AS, whyNoServer } from './support/programs.ts'
import { TestServer } from './support/server.ts'

const VERSION = 15
const noOpenssl =
  spawnSync('openssl', ['version']).status === 0 ? undefined : 'there is no openssl to make a certificate'
const missing = whyNoServer(VERSION) ?? noOpenssl

describe.skipIf(missing)(`physical backups over TLS${missing ? ` (${missing})` : ''}`, () => {
  let server: TestServer
  let ca: string

  beforeAll(async () => {
    const hba = ['local all all trust', 'hostssl all,replication all 127.0.0.1/32 scram-sha-256', ''].join('\n')
    server = await TestServer.start(VERSION, { tcp: true, hba: `${hba}host all all 127.0.0.1/32 scram-sha-256\n` })
    const [key, certificate] = ['server.key', 'server.crt'].map((name) => join(server.folder, name)) as [string, string]
    const subject = ['-subj', '/CN=backup.test', '-addext', 'subjectAltName=IP:127.0.0.1']
    const { status, stderr } = spawnSync('openssl', [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', ...subject],
      ...['-keyout', key, '-out', certificate],
    ])
    if (status !== 0) throw new Error(String(stderr))
    if (RUN_AS) await fs.chown(key, RUN_AS.uid, RUN_AS.gid)
    await fs.chmod(key, 0o600)
    ca = await fs.readFile(certificate, 'utf8')
    await server.sql(`ALTER SYSTEM SET ssl_key_file = '${key}'`)
    await server.sql(`ALTER SYSTEM SET ssl_cert_file = '${certificate}'`)
    await server.sql('ALTER SYSTEM SET ssl = on')
    await server.stop()
    await server.run()
  })
  afterAll(() => server?.destroy())

  test('a full and a log', async () => {
    // A name that is a word of the replication grammar, too.
    const site = physicalSite(server, { slot: 'physical' }, server.connection({ tls: { ca } }))
    const { id } = await site.backup()
    expect((await plainMembers(site, id)).get('base.tar')?.length).toBeGreaterThan(10_000_000)
    await server.sql('CREATE TABLE task (id int)')
    expect((await site.backup('log')).plainBytes).toBeGreaterThan(1000)
  })

  test('without TLS, replication is not let in there', async () => {
    await expect(physicalSite(server).backup()).rejects.toMatchObject({ code: 'SERVER_REFUSED' })
  })

  test('a certificate that nobody vouches for is not taken', async () => {
    const site = physicalSite(server, {}, server.connection({ tls: true }))
    await expect(site.backup()).rejects.toMatchObject({ name: 'BackupError', message: expect.stringMatching(/cert/i) })
    expect(await site.keys()).toEqual([])
  })
})
