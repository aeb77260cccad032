import { execFile, spawnSync } from 'node:child_process'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createBackup, defineBackupPlan, directory } from '@taskflow-backup/core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Databases, startSharedServer, whyNoLogical } from './support/databases.ts'
import { clientPrograms } from './support/programs.ts'
import { PASSWORD, type TestServer } from './support/server.ts'

// The commands of docs/recover-by-hand.md, run as they stand there by bash and the real tools. Only the folders that the
// page names are moved into the test's own.

const TOOLS = ['bash', 'sha256sum', 'grep', 'zstd', 'tar']
const why = whyNoLogical()
let server: TestServer

async function commands(format: string): Promise<string> {
  const page = await readFile(new URL('../../../docs/recover-by-hand.md', import.meta.url), 'utf8')
  const blocks = [...page.matchAll(/^```sh postgres ?(\w*)\n([\s\S]*?)^```$/gm)]
  const chosen = blocks.filter(([, info]) => info === '' || info === format)
  expect(chosen.length).toBe(blocks.length - 2) // those of the two other formats
  return chosen.map(([, , code]) => code).join('')
}

describe.skipIf(why !== undefined)(`without this library${why === undefined ? '' : `: ${why}`}`, () => {
  beforeAll(async () => {
    server = await startSharedServer()
  })
  afterAll(() => server?.destroy())

  test.for(['custom', 'directory', 'plain'] as const)('a dump in the format %s comes back', async (format, context) => {
    const missing = TOOLS.filter((tool) => spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0)
    context.skip(missing.length > 0, `not installed: ${missing.join(', ')}`)
    const databases = await Databases.make(server)
    context.onTestFinished(() => databases.destroy())
    const live = databases.prefix
    await server.sql(`CREATE DATABASE ${live}`)
    await databases.sql(
      `CREATE TABLE task AS SELECT i AS id, 'task ' || i AS title FROM generate_series(1, 3000) i`,
      live,
    )
    const { folder } = databases
    const plan = defineBackupPlan({
      name: 'taskmanagement',
      adapter: databases.adapter({ connection: server.connection({ database: live }), logical: { format } }),
      destinations: [directory(join(folder, 'backups'))],
    })
    await createBackup(plan)
    await databases.sql('DELETE FROM task', live)
    await mkdir(join(folder, 'tmp'))
    const moved = (await commands(format))
      .replaceAll('/tmp/', `${folder}/tmp/`)
      .replaceAll('/var/backups/taskflow', join(folder, 'backups'))
      .replace(/\brecovered\b/g, `${live}_recovered`)
      .replace(/ALTER DATABASE taskmanagement /, `ALTER DATABASE ${live} `)
      .replace(/RENAME TO taskmanagement_before_recovery/, `RENAME TO ${live}_before_recovery`)
      .replace(/RENAME TO taskmanagement'/, `RENAME TO ${live}'`)
    const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', moved], {
      env: {
        ...process.env,
        PATH: `${clientPrograms()?.folder}:${process.env.PATH}`,
        PGHOST: server.folder,
        PGUSER: 'postgres',
        PGPASSWORD: PASSWORD,
      },
    })
    expect(stdout.match(/is whole\.$/gm)).toHaveLength(2)
    expect(await databases.rows('SELECT count(*)::int, max(title) FROM task', live)).toEqual([[3000, 'task 999']])
    expect(await databases.rows('SELECT count(*)::int FROM task', `${live}_before_recovery`)).toEqual([[0]])
  })
})
