import type { BackupKind, BackupRequest, Manifest } from '@taskflow-backup/core'
import { describe, expect, test } from 'vitest'
import { assertContinued, assertContinues, follows } from '../src/base.ts'
import type { MssqlDetails } from '../src/details.ts'
import { toPosition } from '../src/history.ts'
import type { DatabaseFactsRow } from '../src/statements/queries/databases.ts'
import type { PermissionsRow } from '../src/statements/queries/server.ts'

const FAMILY = '6F9619FF-8B86-D011-B42D-00C04FC964FF'
const FORK = 'A1B2C3D4-8B86-D011-B42D-00C04FC964FF'
const OTHER = 'FFFFFFFF-8B86-D011-B42D-00C04FC964FF'

function manifestOf(kind: BackupKind, details: Partial<MssqlDetails> = {}): Manifest {
  const all: MssqlDetails = {
    mode: 'mssql',
    database: 'app',
    serverName: 'DB',
    recoveryModel: 'FULL',
    firstLsn: toPosition('100'),
    lastLsn: toPosition('200'),
    checkpointLsn: toPosition('110'),
    databaseBackupLsn: toPosition('0'),
    firstForkGuid: FORK,
    lastForkGuid: FORK,
    familyGuid: FAMILY,
    utcOffsetMinutesBefore: 60,
    utcOffsetMinutesAfter: 60,
    copyOnly: false,
    nativeCompression: false,
    compatibilityLevel: 150,
    transfer: 'on-server',
    files: [],
    ...details,
  }
  const position = { ...(kind !== 'full' && { begin: all.firstLsn }), end: all.lastLsn }
  return {
    id: `chain/${kind}`,
    kind,
    position,
    source: { name: 'app', engineVersion: '16', details: all },
  } as unknown as Manifest
}

const requestOf = (kind: BackupKind, full: Manifest, previous: Manifest = full): BackupRequest =>
  ({ kind, base: { full: { manifest: full }, previous: { manifest: previous } } }) as unknown as BackupRequest

const database = (facts: Partial<DatabaseFactsRow> = {}): DatabaseFactsRow => ({
  databaseId: 5,
  name: 'app',
  state: 'ONLINE',
  recoveryModel: 'FULL',
  userAccess: 'MULTI_USER',
  isReadOnly: false,
  sourceDatabaseId: null,
  isEncrypted: false,
  inAvailabilityGroup: false,
  compatibilityLevel: 150,
  collation: null,
  lastLogBackupLsn: '100',
  recoveryForkGuid: FORK,
  familyGuid: FAMILY,
  differentialBaseLsn: '110',
  differentialBaseGuid: OTHER,
  dataBytes: '1000',
  logBytes: '1000',
  ...facts,
})

const permissions = (granted: Partial<PermissionsRow> = {}): PermissionsRow => ({
  backupDatabase: true,
  backupLog: true,
  createAnyDatabase: false,
  alterAnyDatabase: false,
  administerBulkOperations: false,
  viewAnyDefinition: true,
  viewServerState: false,
  isSysadmin: false,
  isDbcreator: false,
  ...granted,
})

const full = manifestOf('full')
const log = manifestOf('log', { firstLsn: toPosition('100'), lastLsn: toPosition('300') })

/** The code and message of the refusal, or nothing. */
function refusal(request: BackupRequest, facts: Partial<DatabaseFactsRow>, granted: Partial<PermissionsRow> = {}) {
  try {
    assertContinues(request, database(facts), permissions(granted))
    return undefined
  } catch (error) {
    const { code, message } = error as { code: string; message: string }
    return `${code} ${message}`
  }
}

describe('before a backup: does it continue its chain', () => {
  test.each([
    ['a differential on the full', requestOf('differential', full), {}, undefined],
    [
      'another full was made',
      requestOf('differential', full),
      { differentialBaseLsn: '150' },
      /^BASE_UNUSABLE Another full/,
    ],
    ['no full at all', requestOf('differential', full), { differentialBaseLsn: null }, /^BASE_UNUSABLE .* has no full/],
    [
      'a copy-only full',
      requestOf('differential', manifestOf('full', { copyOnly: true })),
      {},
      /^BASE_UNUSABLE .*copy-only/,
    ],
    [
      'a differential after a restore',
      requestOf('differential', full),
      { recoveryForkGuid: OTHER },
      /^BASE_UNUSABLE .*restored since/,
    ],
    [
      'a differential of another database',
      requestOf('differential', full),
      { familyGuid: OTHER },
      /^BASE_UNUSABLE .*made anew/,
    ],
    ['the first log after a full', requestOf('log', full), {}, undefined],
    ['the first log, where the full ended', requestOf('log', full), { lastLogBackupLsn: '200' }, undefined],
    [
      'the first log, but the log was cut after the full',
      requestOf('log', full),
      { lastLogBackupLsn: '201' },
      /^BASE_UNUSABLE A log backup of app was made/,
    ],
    ['a log after a log', requestOf('log', full, log), { lastLogBackupLsn: '300' }, undefined],
    [
      'a log after a log of somebody else',
      requestOf('log', full, log),
      { lastLogBackupLsn: '400' },
      /^BASE_UNUSABLE A log backup/,
    ],
    [
      'a log that stands earlier',
      requestOf('log', full, log),
      { lastLogBackupLsn: '299' },
      /^BASE_UNUSABLE .*stands before/,
    ],
    ['a log in simple recovery', requestOf('log', full), { recoveryModel: 'SIMPLE' }, /^BASE_UNUSABLE .*SIMPLE/],
    [
      'a log without a full',
      requestOf('log', full),
      { lastLogBackupLsn: null },
      /^BASE_UNUSABLE .*no full backup since/,
    ],
    [
      'a log after a restore',
      requestOf('log', full, log),
      { recoveryForkGuid: OTHER },
      /^BASE_UNUSABLE .*restored since/,
    ],
    ['GUIDs in other letters', requestOf('log', full), { recoveryForkGuid: FORK.toLowerCase() }, undefined],
    [
      'a full never minds',
      { kind: 'full' } as BackupRequest,
      { recoveryModel: 'SIMPLE', differentialBaseLsn: null },
      undefined,
    ],
  ] as const)('%s', (_, request, facts, expected) => {
    const found = refusal(request, facts)
    if (expected) expect(found).toMatch(expected)
    else expect(found).toBeUndefined()
  })

  test.each([
    [requestOf('log', full), { lastLogBackupLsn: null }],
    [requestOf('differential', full), { differentialBaseLsn: null }],
  ])('what the login may not see is not taken for missing (%#)', (request, facts) => {
    expect(refusal(request, facts, { viewAnyDefinition: false })).toMatch(/^PRIVILEGE_MISSING/)
    expect(refusal(request, facts, { viewAnyDefinition: false, isSysadmin: true })).toMatch(/^BASE_UNUSABLE/)
  })

  test('a base of another engine is damaged', () => {
    const foreign = { ...full, source: { name: 'app', engineVersion: '1', details: { mode: 'logical' } } } as Manifest
    expect(refusal(requestOf('log', foreign), {})).toMatch(/^MANIFEST_DAMAGED/)
  })
})

describe('after a backup: did somebody come in between', () => {
  const made = (kind: BackupKind, lsns: { firstLsn?: string; basedOn?: string; fork?: string } = {}) => ({
    kind,
    firstLsn: toPosition(lsns.firstLsn ?? '300'),
    lastLsn: toPosition('500'),
    databaseBackupLsn: toPosition(lsns.basedOn ?? '110'),
    ...(lsns.basedOn && { differentialBaseLsn: toPosition(lsns.basedOn) }),
    firstForkGuid: lsns.fork ?? FORK,
  })

  test.each([
    ['a differential', requestOf('differential', full), made('differential'), undefined],
    ['a full in between', requestOf('differential', full), made('differential', { basedOn: '450' }), 'BASE_UNUSABLE'],
    ['a log', requestOf('log', full, log), made('log'), undefined],
    ['a log in between', requestOf('log', full, log), made('log', { firstLsn: '400' }), 'BASE_UNUSABLE'],
    [
      'a log that begins earlier than the last one ended',
      requestOf('log', full, log),
      made('log', { firstLsn: '250' }),
      'BASE_UNUSABLE',
    ],
    [
      'a first log that begins before its full ended',
      requestOf('log', full),
      made('log', { firstLsn: '90' }),
      undefined,
    ],
    [
      'a first log that begins after its full ended',
      requestOf('log', full),
      made('log', { firstLsn: '210' }),
      'BASE_UNUSABLE',
    ],
    ['a restore in between', requestOf('log', full, log), made('log', { fork: OTHER }), 'BASE_UNUSABLE'],
    ['another kind', requestOf('log', full, log), made('full'), 'SERVER_FAILED'],
  ] as const)('%s', (_, request, row, code) => {
    const check = () => assertContinued(request, row)
    if (code) expect(check).toThrow(expect.objectContaining({ code }))
    else check()
  })
})

describe('does a log of another chain follow', () => {
  test.each([
    ['where it ended', { firstLsn: toPosition('200') }, true],
    ['before it ended', { firstLsn: toPosition('150') }, true],
    ['after a gap', { firstLsn: toPosition('201') }, false],
    ['on another recovery path', { firstLsn: toPosition('200'), firstForkGuid: OTHER }, false],
    ['of another database', { firstLsn: toPosition('200'), familyGuid: OTHER }, false],
  ] as const)('%s', (_, details, expected) => {
    expect(follows(manifestOf('log', { lastLsn: toPosition('500'), ...details }), full)).toBe(expected)
  })

  test('not when the path is not known', () => {
    const { firstForkGuid: _, ...unknown } = manifestOf('log').source.details as unknown as MssqlDetails
    const later = {
      ...manifestOf('log'),
      source: { name: 'app', engineVersion: '16', details: unknown },
    } as unknown as Manifest
    expect(follows(later, full)).toBe(false)
  })
})
