import { BackupError, type SourceFacts } from '@taskflow-backup/core'
import type { DatabaseFile } from './details.ts'
import type { SqlSession } from './session.ts'
import {
  DATABASE_FACTS,
  DATABASE_FILES,
  type DatabaseFactsRow,
  type DatabaseFileRow,
} from './statements/queries/databases.ts'
import { SERVER_CLOCK, SERVER_FACTS, type ServerClockRow, type ServerFactsRow } from './statements/queries/server.ts'

/** What a server is and can do. */
export interface ServerFacts extends ServerFactsRow {
  /** 13 is SQL Server 2016, 16 is 2022. */
  readonly major: number
  /** Whether its edition can compress backups itself; every edition can restore such ones. */
  readonly canCompress: boolean
  /** Whether its edition can encrypt backups itself. */
  readonly canEncrypt: boolean
}

/** The server's clock. */
export interface ServerClock {
  readonly utc: Date
  /** East of Greenwich is positive. */
  readonly utcOffsetMinutes: number
}

const OLDEST_MAJOR = 13
const EXPRESS = 4
const MANAGED_INSTANCE = 8
/** Services without BACKUP DATABASE; by `EngineEdition`. */
const SERVICES: { readonly [edition: number]: string } = {
  5: 'Azure SQL Database',
  6: 'Azure Synapse Analytics',
  11: 'Azure Synapse serverless',
  12: 'SQL database in Microsoft Fabric',
}

/**
 * Asks what the server is.
 *
 * @throws `SERVER_UNSUPPORTED` for cloud services without files, and for versions before 2016
 */
export async function readServer(session: SqlSession): Promise<ServerFacts> {
  const [row] = await session.rows<ServerFactsRow>(SERVER_FACTS)
  if (!row) throw new BackupError('SERVER_FAILED', 'The server does not tell what it is.')
  const service = SERVICES[row.engineEdition]
  if (service) {
    throw new BackupError('SERVER_UNSUPPORTED', `${service} has no BACKUP and RESTORE.`, {
      hint: 'The service makes backups of its own; to keep data elsewhere, export a BACPAC with SqlPackage.',
    })
  }
  if (row.engineEdition === MANAGED_INSTANCE) {
    throw new BackupError(
      'SERVER_UNSUPPORTED',
      'Azure SQL Managed Instance makes only copy-only fulls, to Azure only: neither differential nor log backups.',
      { hint: "Use the service's own point-in-time restore." },
    )
  }
  const major = Number.parseInt(row.productVersion, 10)
  if (!(major >= OLDEST_MAJOR)) {
    throw new BackupError('SERVER_UNSUPPORTED', `SQL Server ${row.productVersion} is older than 2016 (13.0).`, {
      hint: 'Use SQL Server 2016 or later.',
    })
  }
  const small = row.engineEdition === EXPRESS || /^(Express|Web)\b/.test(row.edition)
  return { ...row, major, canCompress: !small, canEncrypt: !small }
}

export async function readClock(session: SqlSession): Promise<ServerClock> {
  const [row] = await session.rows<ServerClockRow>(SERVER_CLOCK)
  if (!row) throw new BackupError('SERVER_FAILED', 'The server does not tell the time.')
  return toClock(row)
}

/** A `Date` has no parts of a millisecond: they are cut off. */
function toClock({ utcNow, utcOffsetMinutes }: ServerClockRow): ServerClock {
  const utc = new Date(`${utcNow.slice(0, 23)}Z`)
  if (Number.isNaN(utc.getTime())) throw new BackupError('SERVER_FAILED', `The server tells no time: ${utcNow}.`)
  return { utc, utcOffsetMinutes }
}

/** @throws `SOURCE_MISSING` */
export async function readDatabase(session: SqlSession, database: string): Promise<DatabaseFactsRow> {
  const [row] = await session.rows<DatabaseFactsRow>(DATABASE_FACTS, { database })
  if (row) return row
  throw new BackupError(
    'SOURCE_MISSING',
    `There is no database ${JSON.stringify(database)}, or the login may not see it.`,
    {
      hint: 'Correct `database`, or make the login a user of it.',
    },
  )
}

export async function readFiles(session: SqlSession, database: string): Promise<DatabaseFile[]> {
  const rows = await session.rows<DatabaseFileRow>(DATABASE_FILES, { database })
  return rows.map(({ logicalName, physicalName, type, sizeBytes }) => ({
    logicalName,
    physicalName,
    type,
    sizeBytes: Number(sizeBytes),
  }))
}

/** Name, version and size of the source. */
export function toSourceFacts(
  server: ServerFacts,
  { name, dataBytes }: Pick<DatabaseFactsRow, 'name' | 'dataBytes'>,
  details: SourceFacts['details'],
): SourceFacts {
  return {
    name,
    engineVersion: server.productVersion,
    ...(dataBytes !== null && { sizeBytes: Number(dataBytes) }),
    ...(details && { details }),
  }
}
