// Writes docs/errors.md from the table of error codes: `node docs/scripts/errors.ts`.
import { writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { ERROR_CODES } from '../../packages/core/src/errors.ts'

const INTRODUCTION = `# Errors

<!-- Made by docs/scripts/errors.ts from ERROR_CODES in packages/core/src/errors.ts: change it there. -->

Every verb, adapter and storage throws one class, \`BackupError\`:

| Property | What it is |
|---|---|
| \`code\` | One of the codes below: for programs. |
| \`message\` | What happened, with names and places: for people. Never a secret. |
| \`hint\` | What to do about it. A message may come with a better one than the code's own below. |
| \`retryable\` | True when the same call may succeed later. |
| \`cause\` | The error behind it, where there is one. |
| \`details\` | Plain data that helps, for example the findings of a verification. |

\`JSON.stringify(error)\` gives code, message, hint, retryable and details, without stack and cause: fit for a log.

\`\`\`ts
import { BackupError, createBackup, defineBackupPlan, memory } from '@taskflow-backup/core'
import { sqlite } from '@taskflow-backup/sqlite'

const plan = defineBackupPlan({ name: 'app', adapter: sqlite({ file: 'missing.db' }), destinations: [memory()] })
try {
  await createBackup(plan)
} catch (error) {
  if (!(error instanceof BackupError)) throw error
  console.log(error.code, error.retryable) // SOURCE_MISSING false
}
\`\`\`
`

/** The whole page. */
export function errorsPage(): string {
  const rows = Object.entries(ERROR_CODES).map(
    ([code, [meaning, hint]]) => `| \`${code}\` | ${cell(meaning)} | ${cell(hint)} |`,
  )
  return `${INTRODUCTION}\n| Code | What it means | What to do |\n|---|---|---|\n${rows.join('\n')}\n`
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('<', '&lt;')

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  writeFileSync(new URL('../errors.md', import.meta.url), errorsPage())
}
