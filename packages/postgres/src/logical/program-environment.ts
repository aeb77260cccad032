import { lookup } from 'node:dns/promises'
import { writeFile } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { rootCertificates } from 'node:tls'
import type { ConnectionSettings, PostgresTls } from '../connection.ts'

/**
 * The environment with which PostgreSQL's programs connect exactly as we do ourselves.
 *
 * All of it goes through the environment, nothing through arguments, which everybody on the machine can read. The
 * password as well, not in a password file: only the same user and root can read either, but the environment is gone
 * with its process even after a kill, and a file is not.
 *
 * @param folder where certificates and keys may be written; needed only with TLS
 */
export async function programEnvironment(
  settings: ConnectionSettings,
  applicationName: string,
  folder: () => Promise<string>,
): Promise<Record<string, string>> {
  const { host, port, database, user, password, tls, connectTimeoutMs } = settings
  return {
    ...inherited(),
    LC_ALL: 'C', // messages are read, see programError
    PGHOST: host,
    PGPORT: String(port),
    PGUSER: user,
    PGDATABASE: database,
    ...(password !== undefined && { PGPASSWORD: password }),
    PGAPPNAME: applicationName,
    PGCONNECT_TIMEOUT: String(Math.max(2, Math.ceil(connectTimeoutMs / 1000))),
    PGGSSENCMODE: 'disable',
    ...(tls === false || isAbsolute(host) ? { PGSSLMODE: 'disable' } : await tlsEnvironment(tls, host, folder)),
  }
}

/** The app's environment without what would make libpq connect in another way than the settings say. */
function inherited(): Record<string, string> {
  const kept = Object.entries(process.env).filter(
    ([name, value]) =>
      value !== undefined && (!name.startsWith('PG') || name === 'PGPASSFILE') && !/^(LC_|LANG)/.test(name),
  )
  return Object.fromEntries(kept) as Record<string, string>
}

async function tlsEnvironment(
  tls: PostgresTls,
  host: string,
  folder: () => Promise<string>,
): Promise<Record<string, string>> {
  const path = await folder()
  const write = async (name: string, text: string): Promise<string> => {
    const file = join(path, name)
    await writeFile(file, text, { mode: 0o600, flag: 'wx' })
    return file
  }
  const verify = tls.rejectUnauthorized !== false
  // Without certificates of its own Node.js takes those that it is built with, and so do the programs.
  const roots = verify ? (tls.ca ?? rootCertificates.join('\n')) : undefined
  // libpq checks the name that it was given as host: an expected other name goes there, and the address beside it.
  const renamed = verify && tls.servername !== undefined && tls.servername !== host
  return {
    PGSSLMODE: verify ? 'verify-full' : 'require',
    PGSSLROOTCERT: roots === undefined ? join(path, 'none') : await write('root.crt', roots),
    PGSSLCERT: tls.cert === undefined ? join(path, 'none') : await write('client.crt', tls.cert),
    PGSSLKEY: tls.key === undefined ? join(path, 'none') : await write('client.key', tls.key),
    ...(renamed && { PGHOST: tls.servername as string, PGHOSTADDR: (await lookup(host)).address }),
  }
}
