// Compiles the optional package zlib-sync for the Node.js that runs this, unless it can be loaded already.
//
//   node_modules/node/bin/node scripts/build-zlib-sync.mjs
//
// The package manager would compile it for the Node.js that runs the package manager, and the pinned one cannot load
// that. Without a compiler nothing is lost but speed in one place: the test of it says that it was skipped.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const require = createRequire(import.meta.url)
/** For a download or a compiler that hangs; each needs ten seconds. */
const LIMIT_MS = 3 * 60_000

if (!loads()) {
  console.error(`Compiling zlib-sync for Node.js ${process.version} ...`)
  const folder = mkdtempSync(join(tmpdir(), 'node-headers-'))
  try {
    compile(headersOfPinned() ?? fetchHeaders(folder))
  } catch (error) {
    console.error(`zlib-sync was not compiled, node:zlib does its work: ${error.message}`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function loads() {
  try {
    require('zlib-sync')
    return true
  } catch {
    return false
  }
}

function compile(nodedir) {
  const built = spawnSync(process.execPath, [require.resolve('node-gyp/bin/node-gyp.js'), 'rebuild'], {
    cwd: dirname(require.resolve('zlib-sync/package.json')),
    encoding: 'utf8',
    timeout: LIMIT_MS,
    // As an argument it would have to give way to a `nodedir` that npm was configured with.
    env: { ...process.env, npm_package_config_node_gyp_nodedir: nodedir },
  })
  if (built.error) throw built.error
  if (built.status !== 0) throw new Error(/stack \w*Error: (.*)/.exec(built.stderr)?.[1] ?? built.stderr)
}

/** Folder with `include/node`, where the package `node` of this version has it below itself. */
function headersOfPinned() {
  return withHeaders(join(root, 'node_modules', 'node', 'node_modules'))
}

/** When the package manager took the package `node` out of its cache, it has the program only. */
function fetchHeaders(folder) {
  const packageName = `${platformPackage()}@${process.versions.node}`
  const options = '--prefix . --no-save --ignore-scripts --no-audit --no-fund --prefer-offline'
  const got = spawnSync(`npm install ${options} ${packageName}`, {
    cwd: folder,
    shell: true, // npm is npm.cmd on Windows
    encoding: 'utf8',
    timeout: LIMIT_MS,
  })
  if (got.error) throw got.error
  if (got.status !== 0) throw new Error(`${packageName} could not be installed: ${got.stderr}`)
  const found = withHeaders(join(folder, 'node_modules'))
  if (found === undefined) throw new Error(`${packageName} has no headers`)
  return found
}

function withHeaders(packages) {
  const path = join(packages, platformPackage())
  const version = join(path, 'package.json')
  if (!existsSync(join(path, 'include', 'node', 'node_version.h')) || !existsSync(version)) return undefined
  return require(version).version === process.versions.node ? path : undefined
}

/** As the package `node` calls what it installs. */
function platformPackage() {
  const platform = process.platform === 'win32' ? 'win' : process.platform
  return `${platform === 'darwin' && process.arch === 'arm64' ? 'node-bin' : 'node'}-${platform}-${process.arch}`
}
