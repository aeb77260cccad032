// What the example needs to know, from the environment.
import type { MssqlOptions } from '@taskflow-backup/mssql'

const NEEDED = {
  MSSQL_SERVER: 'the name of its machine',
  MSSQL_USER: 'a login that may back up and restore',
  MSSQL_PASSWORD: 'its password',
  MSSQL_DATABASE: 'the database to back up',
  MSSQL_SERVER_DIRECTORY: 'a folder that the server and this process share, as the server sees it',
  MSSQL_LOCAL_DIRECTORY: 'the same folder, as this process sees it',
} as const
const MORE = {
  MSSQL_PORT: 'default 1433',
  MSSQL_ENCRYPT: 'default yes; no: the connection is not encrypted',
  MSSQL_TRUST_CERTIFICATE: 'default no; yes: any certificate will do, as in a container',
  MSSQL_LOG_BACKUP:
    'default no; yes: begins a chain and adds a log backup. Not while another tool has one: it would break',
  BACKUPS: 'folder for the backups, default ./backups',
} as const

type Environment = Readonly<Record<string, string | undefined>>

export interface Settings {
  readonly options: MssqlOptions
  readonly backups: string
  readonly logBackup: boolean
}

/** `undefined` when something is missing. */
export function readSettings(env: Environment): Settings | undefined {
  if (Object.keys(NEEDED).some((name) => !env[name])) return undefined
  const { MSSQL_SERVER: server = '', MSSQL_USER: user = '', MSSQL_PASSWORD: password = '' } = env
  const logBackup = env.MSSQL_LOG_BACKUP === 'yes'
  return {
    options: {
      connection: {
        server,
        user,
        password,
        port: Number(env.MSSQL_PORT || 1433),
        options: {
          encrypt: env.MSSQL_ENCRYPT !== 'no',
          trustServerCertificate: env.MSSQL_TRUST_CERTIFICATE === 'yes',
        },
      },
      database: env.MSSQL_DATABASE ?? '',
      transfer: {
        type: 'shared-folder',
        serverDirectory: env.MSSQL_SERVER_DIRECTORY ?? '',
        localDirectory: env.MSSQL_LOCAL_DIRECTORY ?? '',
      },
      // Leaves alone what another tool bases its differentials on; but no log chain begins with it.
      copyOnly: !logBackup,
    },
    backups: env.BACKUPS || 'backups',
    logBackup,
  }
}

export function whatIsMissing(env: Environment): string {
  const lines = (names: Readonly<Record<string, string>>) =>
    Object.entries(names).map(([name, meaning]) => `  ${env[name] ? 'set ' : '    '} ${name.padEnd(24)} ${meaning}`)
  return [
    'There is no SQL Server to show this with: no npm package has one. Give yours in the environment.',
    ...lines(NEEDED),
    'And if you like:',
    ...lines(MORE),
  ].join('\n')
}
