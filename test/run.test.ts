import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, cp, mkdir, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'

// scripts/run.mjs in a small tree of its own, with an `npx` that only notes that it was called.
const script = fileURLToPath(new URL('../scripts/run.mjs', import.meta.url))
const npx = (end: string): string => `#!/bin/sh
echo "$@" >> npx.log
echo "what the package manager said"
mkdir -p node_modules/node/bin
ln -sf '${process.execPath}' node_modules/node/bin/node
${end}
`
const tour = `
if (process.argv.includes('wait')) process.on('SIGTERM', () => process.exit(7)), setInterval(() => {}, 1000)
else process.exitCode = 5
console.log(JSON.stringify({ args: process.argv.slice(2), cwd: process.cwd() }))
`
let root: string

beforeEach(async (context) => {
  if (process.platform === 'win32') context.skip('the stand-in for npx is a shell script')
  root = await realpath(await mkdtemp(join(tmpdir(), 'taskflow run ')))
  await mkdir(join(root, 'examples', 'sqlite-tour'), { recursive: true })
  await mkdir(join(root, 'elsewhere'))
  await cp(script, join(root, 'scripts', 'run.mjs'))
  await writeFile(join(root, 'package.json'), '{ "packageManager": "pnpm@1.2.3+sha512.abc" }')
  await writeFile(join(root, 'pnpm-lock.yaml'), 'one')
  await writeFile(join(root, 'pnpm-workspace.yaml'), '')
  await writeFile(join(root, 'examples', 'sqlite-tour', 'tour.ts'), tour)
  await putNpx('')
})

afterEach(() => rm(root, { recursive: true, force: true }))

test('installs first, quietly, and hands arguments, working directory and exit code through', async () => {
  const { code, stdout, stderr } = await run('start', '--db', "it's a file.db")
  expect(await npxCalls()).toEqual(['--yes --prefer-offline pnpm@1.2.3 install --frozen-lockfile'])
  expect(JSON.parse(stdout)).toEqual({ args: ['--db', "it's a file.db"], cwd: join(root, 'elsewhere') })
  expect(stderr).toMatch(/^Setting up: [^\n]+\n$/)
  expect(code).toBe(5)
})

test('installs again only when the lockfile has changed', async () => {
  await run('start')
  const second = await run('start')
  expect(second.stderr).toBe('')
  expect(await npxCalls()).toHaveLength(1)
  await writeFile(join(root, 'pnpm-lock.yaml'), 'two')
  await run('start')
  expect(await npxCalls()).toHaveLength(2)
})

test('a failed installation is shown, is not taken for a good one, and nothing is run', async () => {
  await putNpx('exit 3')
  const failed = await run('start')
  expect(failed.code).toBe(3)
  expect(failed.stdout).toBe('')
  expect(failed.stderr).toContain('what the package manager said')
  await run('start')
  expect(await npxCalls()).toHaveLength(2)
})

test('asks the registry again when what npm remembers does not have our pnpm', async () => {
  await putNpx('case "$*" in *--prefer-offline*) echo "npm error code ETARGET" >&2; exit 1;; esac')
  const { code, stderr } = await run('start')
  expect(code).toBe(5)
  expect(stderr).not.toContain('ETARGET')
  expect((await npxCalls()).at(-1)).toBe('--yes --prefer-online pnpm@1.2.3 install --frozen-lockfile')
})

test('compiles the optional package before the tests only, and goes on when that fails', async () => {
  await writeFile(join(root, 'scripts', 'build-zlib-sync.mjs'), "console.log('no compiler here'); process.exitCode = 1")
  await mkdir(join(root, 'node_modules', 'vitest'), { recursive: true })
  await writeFile(join(root, 'node_modules', 'vitest', 'vitest.mjs'), "console.log('tested', ...process.argv.slice(2))")
  const { code, stdout } = await run('test', 'some.test.ts')
  expect(stdout).toBe('no compiler here\ntested run some.test.ts\n')
  expect(code).toBe(0)
  expect((await run('start')).stdout).not.toContain('no compiler here')
})

test('passes a signal on and ends as the program ended', async () => {
  const child = start('start', 'wait')
  await once(child.stdout, 'data')
  child.kill('SIGTERM')
  expect(await once(child, 'exit')).toEqual([7, null])
})

test('pnpm gets its arguments as they were given', async () => {
  await run('start')
  await run('pnpm', '-r', '--filter', './packages/*', "it's")
  expect((await npxCalls()).at(-1)).toBe("--yes --prefer-offline pnpm@1.2.3 -r --filter ./packages/* it's")
})

test('an unknown command is refused before anything is installed', async () => {
  const { code, stderr } = await run('constructor')
  expect(code).toBe(2)
  expect(stderr).toContain('start|test|pnpm')
})

function start(...args: string[]) {
  return spawn(process.execPath, [join(root, 'scripts', 'run.mjs'), ...args], {
    env: { PATH: [join(root, 'bin'), process.env.PATH].join(delimiter), INIT_CWD: join(root, 'elsewhere') },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

async function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = start(...args)
  const [[code], stdout, stderr] = await Promise.all([once(child, 'close'), text(child.stdout), text(child.stderr)])
  return { code, stdout, stderr }
}

async function putNpx(end: string): Promise<void> {
  await mkdir(join(root, 'bin'), { recursive: true })
  await writeFile(join(root, 'bin', 'npx'), npx(end))
  await chmod(join(root, 'bin', 'npx'), 0o755)
}

/** How npx was called, one line for each time. */
async function npxCalls(): Promise<string[]> {
  return (await readFile(join(root, 'npx.log'), 'utf8')).trimEnd().split('\n')
}
