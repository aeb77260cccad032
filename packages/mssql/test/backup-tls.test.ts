import { spawnSync } from 'node:child_process'
import { verifyBackup } from '@taskflow-backup/core'
import { afterEach, describe, expect, test } from 'vitest'
import { type BackupSite, backupSite } from './support/backup-site.ts'
import { makeCertificate } from './support/tds/certificate.ts'

let site: BackupSite
afterEach(() => site?.destroy())

const noOpenssl = spawnSync('openssl', ['version']).status !== 0

describe('fake SQL Server: with TLS', () => {
  test('a trusted certificate, and one that is not', async ({ skip }) => {
    skip(noOpenssl, 'there is no openssl to make a certificate')
    const tls = makeCertificate()
    site = await backupSite({}, { tls })
    const { config } = site.server
    const trusting = (options: object) => ({ connection: { ...config, options: { encrypt: true, ...options } } })
    const { id } = await site.backup('full', trusting({ cryptoCredentialsDetails: { ca: tls.cert } }))
    await verifyBackup(site.plan(), { id })
    await expect(site.backup('full', trusting({}))).rejects.toMatchObject({
      code: 'SERVER_UNREACHABLE',
      retryable: false,
      hint: expect.stringContaining('trustServerCertificate'),
    })
  })

  test('a server without TLS is not talked to in clear', async () => {
    site = await backupSite()
    const connection = { ...site.server.config, options: { encrypt: true, trustServerCertificate: true } }
    await expect(site.backup('full', { connection })).rejects.toMatchObject({ code: 'SERVER_UNREACHABLE' })
    expect(site.server.statements()).toEqual([])
  })
})
