import { BackupError, type Finding } from '@taskflow-backup/core'
import { serverErrorsOf } from '../errors.ts'
import type { CheckedOptions } from '../options.ts'
import type { SqlSession } from '../session.ts'
import { checkDatabaseStatement } from '../statements/database.ts'

const CHECK = 'dbcc-checkdb'

/** Numbers of what DBCC CHECKDB finds; others are about its not having run. */
const FINDINGS = [
  [605, 605],
  [823, 825],
  [2500, 2599],
  [5250, 5299],
  [7900, 7999],
  [8900, 8999],
] as const

/** Lets the server look through all of the restored database. It says nothing meanwhile, however long that takes. */
export async function checkRestored(
  session: SqlSession,
  database: string,
  { checkDatabase }: Pick<CheckedOptions, 'checkDatabase'>,
  signal: AbortSignal,
): Promise<Finding[]> {
  const physicalOnly = checkDatabase === 'physical-only'
  try {
    await session.run(checkDatabaseStatement(database, { physicalOnly }), { signal })
  } catch (error) {
    const found = serverErrorsOf(error).filter(({ number }) => isFinding(number))
    if (!(error instanceof BackupError) || found.length === 0) throw error
    return found.map(({ number, message }) => ({ check: CHECK, severity: 'error', message: `${number}: ${message}` }))
  }
  const what = physicalOnly ? 'DBCC CHECKDB (physical only)' : 'DBCC CHECKDB'
  return [{ check: CHECK, severity: 'ok', message: `${what} found nothing in ${database}.` }]
}

/** Within these, but of the login: it has not the right to run it. */
const PRIVILEGES = [2571, 7983]

const isFinding = (number: number): boolean =>
  !PRIVILEGES.includes(number) && FINDINGS.some(([from, to]) => number >= from && number <= to)
