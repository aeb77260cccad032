import { execFile } from 'node:child_process'
import { copyFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'

const execute = promisify(execFile)
const root = fileURLToPath(new URL('..', import.meta.url))
const packages = ['core', 'sqlite', 'testing']
const noAnswer = /ECONNREFUSED|ECONNRESET|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ERR_SOCKET_TIMEOUT|ENOTCACHED/

let folder: string
let skipReason: string | undefined

// What a user installs: the tarballs that would be published, and everything else from the registry.
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'taskflow packaging 100% C# '))
  try {
    await pnpm('run', 'build')
    await pnpm('pack', '--pack-destination', folder)
    await installTarballs()
  } catch (error) {
    if (!noAnswer.test(String(error))) throw error
    skipReason = 'the npm registry does not answer'
  }
}, 900_000)

afterAll(() => rm(folder, { recursive: true, force: true }))

beforeEach((context) => {
  if (skipReason !== undefined) context.skip(skipReason)
})

test('a package holds its build, its licence and its readme, and nothing else', async () => {
  for (const name of packages) {
    const files = await readdir(join(folder, 'node_modules', '@taskflow-backup', name))
    expect(files.sort(), name).toEqual(['LICENSE', 'README.md', 'dist', 'package.json'])
  }
  const child = await readdir(join(folder, 'node_modules', '@taskflow-backup', 'sqlite', 'dist', 'child'))
  expect(child.sort()).toEqual(['main.cjs', 'main.js'])
})

test('the built packages do not refer to files that are not packed', async () => {
  for (const name of packages) {
    const manifest = await readFile(join(folder, 'node_modules', '@taskflow-backup', name, 'package.json'), 'utf8')
    expect(manifest).not.toMatch(/src\/|workspace:/)
  }
})

test.each([
  ['ESM', 'mts', 'mjs'],
  ['CommonJS', 'cts', 'cjs'],
])(
  'a strict %s program compiles against the packed packages, backs up, verifies and restores',
  async (_, source, output) => {
    await copyFile(join(root, 'test', 'fixtures', 'consumer.ts'), join(folder, `consumer.${source}`))
    await writeFile(join(folder, `tsconfig.${source}.json`), JSON.stringify(tsconfig(`consumer.${source}`)))
    await run(process.execPath, [
      join(root, 'node_modules', 'typescript', 'bin', 'tsc'),
      '-p',
      `tsconfig.${source}.json`,
    ])
    const printed = await run(process.execPath, [
      '--no-warnings',
      `consumer.${output}`,
      join(folder, `data of ${output}`),
    ])
    expect(JSON.parse(printed)).toEqual({
      verified: true,
      same: true,
      rows: 2000,
      refused: 'SOURCE_MISSING',
      testing: true,
    })
  },
)

async function installTarballs(): Promise<void> {
  await writeFile(join(folder, 'package.json'), '{ "private": true }')
  const tarballs = (await readdir(folder)).filter((name) => name.endsWith('.tgz')).map((name) => `./${name}`)
  const types = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')).devDependencies['@types/node']
  // Without scripts: nothing that we depend on may need a compiler on the user's machine.
  const options = ['--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', '--fetch-retries=1']
  await npm('install', ...options, ...tarballs, `@types/node@${types}`)
}

/** `skipLibCheck` is off: our own declarations must be right too, with nothing installed but what we declare. */
function tsconfig(file: string): object {
  return {
    compilerOptions: {
      target: 'ES2023',
      lib: ['ES2023'],
      module: 'NodeNext',
      types: ['node'],
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      skipLibCheck: false,
      noEmitOnError: true,
    },
    files: [file],
  }
}

function pnpm(...args: string[]): Promise<string> {
  return run(
    process.execPath,
    [join(root, 'scripts', 'run.mjs'), 'pnpm', '-r', '--filter', './packages/*', ...args],
    root,
  )
}

function npm(...args: string[]): Promise<string> {
  return run('npm', args, folder, process.platform === 'win32') // npm.cmd there
}

/** Standard output; an error that holds everything printed when it fails. */
async function run(command: string, args: string[], cwd = folder, shell = false): Promise<string> {
  try {
    return (await execute(command, args, { cwd, shell, maxBuffer: 64 * 1024 * 1024 })).stdout
  } catch (error) {
    const { stdout = '', stderr = '', code } = error as { stdout?: string; stderr?: string; code?: number | string }
    throw new Error(`${[command, ...args].join(' ')} failed (${code}):\n${`${stdout}\n${stderr}`.slice(-4000)}`)
  }
}
