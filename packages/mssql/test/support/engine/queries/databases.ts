import type * as Rows from '../../all-queries.ts'
import * as texts from '../../all-queries.ts'
import { isoText } from '../clock.ts'
import type { Database } from '../database.ts'
import { answer, found, seesFiles } from './answer.ts'

answer<Rows.DatabaseFactsRow>(texts.DATABASE_FACTS, {
  columns: {
    databaseId: 'int',
    name: 'nvarchar',
    state: 'nvarchar',
    recoveryModel: 'nvarchar',
    userAccess: 'nvarchar',
    isReadOnly: 'bit',
    sourceDatabaseId: 'int',
    isEncrypted: 'bit',
    inAvailabilityGroup: 'bit',
    compatibilityLevel: 'tinyint',
    collation: 'nvarchar',
    lastLogBackupLsn: 'varchar',
    recoveryForkGuid: 'varchar',
    familyGuid: 'varchar',
    differentialBaseLsn: 'varchar',
    differentialBaseGuid: 'varchar',
    dataBytes: 'varchar',
    logBytes: 'varchar',
  },
  rows: (run, ask) => found(run, ask('database')).map((database) => factsOf(database, seesFiles(run))),
})

function factsOf(database: Database, seen: boolean): Rows.DatabaseFactsRow {
  const bytesOf = (type: string): string | null =>
    seen ? String(database.files.reduce((sum, file) => sum + (file.type === type ? file.sizeBytes : 0), 0)) : null
  const base = seen ? database.differentialBase : undefined
  const isOnline = database.state === 'ONLINE'
  return {
    databaseId: database.id,
    name: database.name,
    state: database.state,
    recoveryModel: database.recoveryModel,
    userAccess: database.access,
    isReadOnly: false,
    sourceDatabaseId: null,
    isEncrypted: false,
    inAvailabilityGroup: false,
    compatibilityLevel: database.compatibilityLevel,
    collation: isOnline ? database.collation : null,
    lastLogBackupLsn: isOnline && database.logChainLsn !== null ? String(database.logChainLsn) : null,
    recoveryForkGuid: isOnline ? database.forkGuid : null,
    familyGuid: isOnline ? database.familyGuid : null,
    differentialBaseLsn: base ? String(base.lsn) : null,
    differentialBaseGuid: base?.guid ?? null,
    dataBytes: bytesOf('ROWS'),
    logBytes: bytesOf('LOG'),
  }
}

answer<Rows.DatabaseFileRow>(texts.DATABASE_FILES, {
  columns: { fileId: 'int', logicalName: 'nvarchar', physicalName: 'nvarchar', type: 'nvarchar', sizeBytes: 'varchar' },
  rows: (run, ask) =>
    seesFiles(run)
      ? found(run, ask('database')).flatMap(({ files }) =>
          files.map((file) => ({ ...file, sizeBytes: String(file.sizeBytes) })),
        )
      : [],
})

answer<Rows.DatabaseRow>(texts.DATABASES_LIKE, {
  columns: { databaseId: 'int', name: 'nvarchar', state: 'nvarchar', userAccess: 'nvarchar', createdAt: 'varchar' },
  rows: ({ engine }, ask) => {
    const pattern = likePattern(String(ask('pattern')))
    return engine.databases.all
      .filter(({ name }) => pattern.test(name))
      .sort((left, right) => (left.name < right.name ? -1 : 1))
      .map(({ id, name, state, access, createdAt }) => ({
        databaseId: id,
        name,
        state,
        userAccess: access,
        createdAt: isoText(createdAt),
      }))
  },
})

/** LIKE … ESCAPE N'!', regardless of case. */
function likePattern(pattern: string): RegExp {
  const parts = pattern.match(/![\s\S]|[\s\S]/g) ?? []
  const translated = parts.map((part) => {
    if (part === '%') return '[\\s\\S]*'
    if (part === '_') return '[\\s\\S]'
    return part.at(-1)?.replace(/[\\^$.*+?()[\]{}|]/, '\\$&')
  })
  return new RegExp(`^${translated.join('')}$`, 'i')
}

answer<Rows.PhysicalNameRow>(texts.PHYSICAL_NAMES, {
  columns: { physicalName: 'nvarchar' },
  rows: (run) =>
    seesFiles(run)
      ? run.engine.databases.all.flatMap(({ files }) => files.map(({ physicalName }) => ({ physicalName })))
      : [],
})
