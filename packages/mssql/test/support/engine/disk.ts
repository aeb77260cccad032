import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { cannotOpen, fail, OS_ERRORS } from './errors.ts'
import type { Device } from './statements.ts'

export interface DiskOptions {
  /** Where the files really are. */
  readonly directory: string
  /** How the server calls that folder. Other paths of the server do not exist. */
  readonly serverDirectory: string
}

/** The server's own file system: one folder that really exists, and object storage in memory. */
export class Disk {
  /** What a backup may still write, in bytes. */
  freeBytes = Number.POSITIVE_INFINITY
  readonly urls = new Map<string, Buffer>()
  readonly #options: DiskOptions

  constructor(options: DiskOptions) {
    this.#options = options
  }

  /** Where a path of the server really is. Undefined: the server has no such folder. */
  localPath(serverPath: string): string | undefined {
    const { directory, serverDirectory } = this.#options
    const [path, root] = [slashes(serverPath), slashes(serverDirectory).replace(/\/+$/, '')]
    if (path === root) return directory
    const local = path.startsWith(`${root}/`) ? join(directory, path.slice(root.length + 1)) : undefined
    return local?.startsWith(directory) ? local : undefined
  }

  write(device: Device, content: Buffer): void {
    if (content.length > this.freeBytes) throw fail(3202, `Write on "${device.path}" failed: ${OS_ERRORS.full}`)
    if (device.type === 'url') {
      this.urls.set(device.path, content)
      return
    }
    const local = this.localPath(device.path)
    if (!local || !existsSync(dirname(local))) throw cannotOpen(device.path, OS_ERRORS.noFolder)
    try {
      writeFileSync(local, content)
    } catch {
      throw cannotOpen(device.path, OS_ERRORS.denied)
    }
  }

  read(device: Device): Buffer {
    const content = device.type === 'url' ? this.urls.get(device.path) : this.readFile(device.path)
    if (!content) throw cannotOpen(device.path, OS_ERRORS.notFound)
    return content
  }

  readFile(path: string): Buffer | undefined {
    const local = this.localPath(path)
    if (!local || !existsSync(local)) return undefined
    try {
      return readFileSync(local)
    } catch {
      throw cannotOpen(path, OS_ERRORS.denied)
    }
  }

  exists(path: string): { readonly file: boolean; readonly folder: boolean; readonly parent: boolean } {
    const local = this.localPath(path)
    if (!local) return { file: false, folder: false, parent: false }
    const found = statSync(local, { throwIfNoEntry: false })
    return { file: found?.isFile() ?? false, folder: found?.isDirectory() ?? false, parent: existsSync(dirname(local)) }
  }

  /** The files in a folder. */
  list(serverPath: string): { readonly name: string; readonly writtenMs: number; readonly bytes: number }[] {
    const local = this.localPath(serverPath.replace(/[\\/]+$/, ''))
    if (!local || !existsSync(local)) return []
    return readdirSync(local, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => ({ name, ...factsOf(join(local, name)) }))
      .sort((left, right) => right.writtenMs - left.writtenMs)
  }

  /** As xp_delete_file: only what begins as a backup, and silence when there is nothing. */
  deleteBackup(path: string): void {
    const start = this.readFile(path)?.toString('latin1', 0, 8) ?? ''
    if (start.startsWith('TAPE') || start === 'MSSQLBAK') this.delete(path)
  }

  delete(path: string): void {
    const local = this.localPath(path)
    if (local) rmSync(local, { force: true })
  }

  makeFolder(): void {
    mkdirSync(this.#options.directory, { recursive: true })
  }
}

function factsOf(local: string): { readonly writtenMs: number; readonly bytes: number } {
  const { mtimeMs, size } = statSync(local)
  return { writtenMs: mtimeMs, bytes: size }
}

const slashes = (path: string): string => path.replaceAll('\\', '/')
