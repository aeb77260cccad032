import type * as Rows from '../../all-queries.ts'
import * as texts from '../../all-queries.ts'
import { isoText } from '../clock.ts'
import { historyRow } from '../history.ts'
import { answer, type Query } from './answer.ts'

const HISTORY_COLUMNS: Query<Rows.HistoryRow>['columns'] = {
  backupSetId: 'int',
  backupSetGuid: 'varchar',
  mediaSetId: 'int',
  firstFamily: 'tinyint',
  lastFamily: 'tinyint',
  position: 'int',
  name: 'nvarchar',
  description: 'nvarchar',
  userName: 'nvarchar',
  serverName: 'nvarchar',
  type: 'varchar',
  firstLsn: 'varchar',
  lastLsn: 'varchar',
  checkpointLsn: 'varchar',
  databaseBackupLsn: 'varchar',
  differentialBaseLsn: 'varchar',
  firstForkGuid: 'varchar',
  lastForkGuid: 'varchar',
  forkPointLsn: 'varchar',
  familyGuid: 'varchar',
  isCopyOnly: 'bit',
  isDamaged: 'bit',
  hasChecksums: 'bit',
  hasBulkLoggedData: 'bit',
  recoveryModel: 'nvarchar',
  collation: 'nvarchar',
  compatibilityLevel: 'int',
  startedAt: 'varchar',
  finishedAt: 'varchar',
  timeZone: 'int',
  backupBytes: 'varchar',
  compressedBytes: 'varchar',
}

answer<Rows.HistoryRow>(texts.HISTORY_BY_NAME, {
  columns: HISTORY_COLUMNS,
  rows: ({ engine }, ask) => {
    const name = String(ask('name'))
    return engine.history
      .of(String(ask('database')))
      .filter((entry) => entry.header.name === name)
      .map(historyRow)
  },
})

answer<Rows.HistoryRow>(texts.LATEST_HISTORY, {
  columns: HISTORY_COLUMNS,
  rows: ({ engine }, ask) =>
    engine.history
      .of(String(ask('database')))
      .slice(0, 50)
      .map(historyRow),
})

answer<Rows.HistoryDeviceRow>(texts.HISTORY_DEVICES, {
  columns: { family: 'int', path: 'nvarchar', deviceType: 'int' },
  rows: ({ engine }, ask) => {
    const entry = engine.history.entries.find(({ mediaSetId }) => mediaSetId === Number(ask('mediaSetId')))
    const devices = entry?.devices ?? []
    return devices.map(({ type, path }, index) => ({ family: index + 1, path, deviceType: type === 'url' ? 9 : 2 }))
  },
})

answer<Rows.LogMarkRow>(texts.LOG_MARKS, {
  columns: { mark: 'nvarchar', description: 'nvarchar', userName: 'nvarchar', lsn: 'varchar', markedAt: 'varchar' },
  rows: ({ engine }, ask) => {
    const same = String(ask('database')).toLowerCase()
    const [first, last] = [BigInt(String(ask('firstLsn'))), BigInt(String(ask('lastLsn')))]
    // msdb keeps those of a past that a restore has left as well.
    return engine.history.marks
      .filter(({ database, lsn }) => database.toLowerCase() === same && lsn >= first && lsn < last)
      .sort((left, right) => (left.lsn < right.lsn ? -1 : 1))
      .slice(0, 1001)
      .map(({ mark, lsn, at }) => ({
        mark,
        description: null,
        userName: 'sa',
        lsn: String(lsn),
        markedAt: isoText(at),
      }))
  },
})
