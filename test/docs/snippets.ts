// Runs the TypeScript of the documentation for real.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { type Block, root } from './markdown.ts'

/** A block in the file that it is run from. */
export interface Snippet {
  readonly block: Block
  readonly file: string
  /** What each `console.log` says it prints, by its line in the file. */
  readonly expected: Readonly<Record<number, string>>
  /** Tests of `node:test` report through the exit code of a process of their own. */
  readonly alone: boolean
}

/** How a snippet ended. */
export interface Outcome {
  readonly error?: string
  /** What was printed, by the line of the `console.log`. */
  readonly printed: Readonly<Record<number, string>>
}

/** A folder in which packages of the workspace are found, with all snippets in it. */
export interface Workshop {
  readonly folder: string
  readonly snippets: readonly Snippet[]
  remove(): Promise<void>
}

/**
 * Writes every block of `pages` into a file. Blocks of one page share a folder and run in their order; one that begins
 * with `// plan.ts` gets that name, so that those after it can import it.
 */
export async function writeSnippets(pages: readonly (readonly Block[])[]): Promise<Workshop> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'taskflow docs ')))
  await linkPackages(folder)
  const snippets: Snippet[] = []
  for (const [pageNumber, blocks] of pages.entries()) {
    const page = join(folder, `page-${pageNumber}`)
    await mkdir(join(page, 'tmp'), { recursive: true })
    for (const [number, block] of blocks.entries()) {
      const named = /^\/\/ ([\w.-]+\.ts)\b/.exec(block.code)?.[1]
      const file = join(page, named ?? `snippet-${number}.ts`)
      const { code, expected } = instrument(relocated(block.code, page))
      await writeFile(file, code)
      snippets.push({ block, file, expected, alone: code.includes("from 'node:test'") })
    }
  }
  return { folder, snippets, remove: () => rm(folder, { recursive: true, force: true }) }
}

/** Lets every `console.log` say from which line it comes, and collects what the comments say it prints. */
export function instrument(code: string): { code: string; expected: Record<number, string> } {
  const lines = code.split('\n')
  const expected: Record<number, string> = {}
  for (const [index, line] of lines.entries()) {
    if (!line.includes('console.log(') || line.trimStart().startsWith('//')) continue
    const trailing = /\) \/\/ (.*)$/.exec(line)?.[1]
    const below: string[] = []
    for (let next = index + 1; trailing === undefined && /^\/\/ /.test(lines[next] ?? ''); next++) {
      below.push((lines[next] as string).slice(3))
    }
    if (trailing !== undefined || below.length > 0) expected[index + 1] = trailing ?? below.join('\n')
  }
  const told = lines.map((line, index) => line.replaceAll('console.log(', `console.log('\\u0000${index + 1}', `))
  return { code: told.join('\n'), expected }
}

/** What pages keep in /var/backups, in /tmp or on a share, a test keeps in its own folder. */
function relocated(code: string, folder: string): string {
  return code.replaceAll(/'\/(var\/backups|tmp|mnt|srv)(?=[/'])/g, `'${folder}/$1`)
}

async function linkPackages(folder: string): Promise<void> {
  const modules = join(folder, 'node_modules')
  await mkdir(join(modules, '@taskflow-backup'), { recursive: true })
  await mkdir(join(modules, '@types'))
  for (const name of ['core', 'mssql', 'postgres', 'sqlite', 'testing']) {
    await symlink(join(root, 'packages', name), join(modules, '@taskflow-backup', name))
  }
  const sqliteModules = join(root, 'packages', 'sqlite', 'node_modules')
  for (const name of ['better-sqlite3', '@types/better-sqlite3'])
    await symlink(join(sqliteModules, name), join(modules, name))
  await symlink(join(root, 'node_modules', '@types', 'node'), join(modules, '@types', 'node'))
  await writeFile(join(folder, 'package.json'), '{ "type": "module", "private": true }\n')
}

/** Runs all snippets: those that share a process one after another, the others one by one. */
export async function runSnippets({ folder, snippets }: Workshop): Promise<Map<Snippet, Outcome>> {
  const shared = snippets.filter((snippet) => !snippet.alone)
  const jobs = join(folder, 'jobs.json')
  const results = join(folder, 'results.json')
  await writeFile(jobs, JSON.stringify(shared.map(({ file }) => file)))
  const runner = fileURLToPath(new URL('run-snippets.ts', import.meta.url))
  const { code, output } = await runNode([runner, jobs, results], folder)
  if (code !== 0) throw new Error(`The snippets could not be run: exit code ${code}\n${output}`)
  const outcomes = JSON.parse(await readFile(results, 'utf8')) as Outcome[]
  const all = new Map(shared.map((snippet, index) => [snippet, outcomes[index] as Outcome]))
  for (const snippet of snippets.filter(({ alone }) => alone)) {
    const ended = await runNode([snippet.file], join(snippet.file, '..'))
    all.set(snippet, { printed: {}, ...(ended.code !== 0 && { error: `exit code ${ended.code}\n${ended.output}` }) })
  }
  return all
}

async function runNode(args: readonly string[], cwd: string): Promise<{ code: number | null; output: string }> {
  // Without vitest's own variables: node:test would take the process for a part of another test run.
  const { NODE_TEST_CONTEXT: _, NODE_OPTIONS: __, ...environment } = process.env
  const child = spawn(process.execPath, args, { cwd, env: environment, stdio: ['ignore', 'pipe', 'pipe'] })
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')])
  return { code, output: (out + err).slice(-6000) }
}
