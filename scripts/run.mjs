// Runs a command of this repository under its pinned Node, after installing what it needs.
//
//   node scripts/run.mjs start [--db FILE]     the tour: examples/sqlite-tour
//   node scripts/run.mjs test [vitest args]    every test
//   node scripts/run.mjs pnpm <pnpm args>      the pinned pnpm
//
// Plain JavaScript without dependencies, because this file runs on whatever Node (20 or newer) the machine has.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const modules = join(root, 'node_modules')
const pinnedNode = join(modules, 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
const stampFile = join(modules, '.setup-stamp')
const pnpm = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).packageManager.split('+')[0]

const commands = {
  start: (args) => ({
    command: pinnedNode,
    args: [join(root, 'examples', 'sqlite-tour', 'tour.ts'), ...args],
    // npm changes to the root first; a relative `--db FILE` counts from where the user is.
    cwd: process.env.INIT_CWD ?? process.cwd(),
  }),
  test: (args) => ({ command: pinnedNode, args: [join(modules, 'vitest', 'vitest.mjs'), 'run', ...args], cwd: root }),
  pnpm: (args) => ({
    command: ['npx --yes --prefer-offline', pnpm, ...args.map(quote)].join(' '),
    args: [],
    cwd: root,
    shell: true,
  }),
}

const [name = '', ...args] = process.argv.slice(2)
const command = Object.hasOwn(commands, name) ? commands[name] : undefined
if (command === undefined) {
  console.error(`Usage: node scripts/run.mjs ${Object.keys(commands).join('|')} [arguments]`)
  process.exit(2)
}
setUpIfNeeded()
// For the tests only: the tour need not wait for a compiler. It says itself when there is none.
if (name === 'test') spawnSync(pinnedNode, [join(root, 'scripts', 'build-zlib-sync.mjs')], { stdio: 'inherit' })
run(command(args))

/** What the installed packages depend on; another value means that they are out of date. */
function wantedStamp() {
  const hash = createHash('sha256').update(`${pnpm} ${process.platform} ${process.arch}`)
  for (const file of ['pnpm-lock.yaml', 'pnpm-workspace.yaml']) hash.update(readFileSync(join(root, file)))
  return hash.digest('hex')
}

function setUpIfNeeded() {
  const wanted = wantedStamp()
  if (existsSync(pinnedNode) && existsSync(stampFile) && readFileSync(stampFile, 'utf8') === wanted) return
  console.error(`Setting up: ${pnpm} installs what pnpm-lock.yaml names, with Node.js 24 itself, into node_modules ...`)
  let install = npxInstall('--prefer-offline')
  // What npm remembers of the registry may be older than our pnpm.
  if (install.status !== 0 && /ETARGET/.test(install.stderr)) install = npxInstall('--prefer-online')
  if (install.status === 0 && existsSync(pinnedNode)) return writeFileSync(stampFile, wanted)
  console.error([install.stdout, install.stderr, install.error?.message].filter(Boolean).join('\n'))
  console.error(
    'Setting up failed, for the reason above. It needs npm and a registry that answers (`npm config get registry`).',
  )
  process.exit(install.status || 1)
}

function npxInstall(preference) {
  return spawnSync(`npx --yes ${preference} ${pnpm} install --frozen-lockfile`, {
    cwd: root,
    shell: true, // npx is npx.cmd on Windows
    encoding: 'utf8',
    maxBuffer: Infinity,
    env: { ...process.env, CI: 'true' }, // never asks
  })
}

/** Runs it with this terminal, passes signals on, and ends as it ended. */
function run({ command, args, cwd, shell = false }) {
  const path = [dirname(pinnedNode), join(modules, '.bin'), process.env.PATH].join(delimiter)
  const child = spawn(command, args, { cwd, shell, stdio: 'inherit', env: { ...process.env, PATH: path } })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      const terminalTellsBoth = signal === 'SIGINT' && process.stdin.isTTY
      if (!terminalTellsBoth) child.kill(signal)
    })
  }
  child.on('error', (error) => {
    console.error(`Cannot run ${command}: ${error.message}`)
    process.exit(1)
  })
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]))
}

/** One argument for the shell of this platform. */
function quote(argument) {
  if (/^[\w@%+=:,./-]+$/.test(argument)) return argument
  return process.platform === 'win32'
    ? `"${argument.replaceAll('"', '\\"')}"`
    : `'${argument.replaceAll("'", "'\\''")}'`
}
