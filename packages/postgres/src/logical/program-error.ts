import { BackupError, type ErrorCode } from '@taskflow-backup/core'
import { withoutSecret } from '../errors.ts'

/** Lines of a program's output that go into a message. */
const LINES = 6

/** What a program's words mean; the first that fits. They are in English: it runs with `LC_ALL=C`. */
const MEANINGS: readonly [RegExp, ErrorCode, { readonly retryable?: boolean; readonly hint?: string }][] = [
  [/server version mismatch|unsupported version \(.*\) in file header/, 'PROGRAM_MISSING', {}],
  [
    /password authentication failed|no pg_hba\.conf entry|role ".*" does not exist|no password supplied/,
    'SERVER_REFUSED',
    {},
  ],
  [/lock timeout|could not obtain lock/, 'SOURCE_BUSY', { retryable: true }],
  [/too many clients|remaining connection slots/, 'SERVER_BUSY', { retryable: true }],
  [
    /No space left on device|[Dd]isk full|could not extend file/,
    'PROGRAM_FAILED',
    { hint: 'Free space on the disk that the message names, or give the plan another `temporaryDirectory`.' },
  ],
  [/permission denied|must be (superuser|owner|member)|query would be affected by row-level/, 'PRIVILEGE_MISSING', {}],
  [
    /server closed the connection|connection to server .* failed|terminating connection|could not connect|connection not open|SSL connection has been closed|the database system is/,
    'SERVER_UNREACHABLE',
    { retryable: true },
  ],
]

/** The error for a program that ended with a code other than 0, or by a signal. */
export function programError(
  program: string,
  how: number | NodeJS.Signals | null,
  stderr: string,
  secret: string | undefined,
): BackupError {
  const said = withoutSecret(stderr.trim(), secret)
  const last = said.split('\n').slice(-LINES).join('\n').slice(-2_000)
  const end = typeof how === 'string' ? `was ended by ${how}` : `ended with code ${how}`
  const [, code, options] = MEANINGS.find(([words]) => words.test(said)) ?? [/^/, 'PROGRAM_FAILED' as const, {}]
  const killed = typeof how === 'string' && code === 'PROGRAM_FAILED'
  return new BackupError(code, `${program} ${end}. ${last}`.trim(), { ...options, ...(killed && { retryable: true }) })
}
