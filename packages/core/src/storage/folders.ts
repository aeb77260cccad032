import * as fs from 'node:fs/promises'
import { dirname, sep } from 'node:path'

/** Makes `folder` and what is missing above it, each flushed into the folder that holds it. */
export async function makeFolders(folder: string, root: string): Promise<void> {
  const first = await fs.mkdir(folder, { recursive: true, mode: 0o700 })
  if (first === undefined) return
  for (let made = folder; ; made = dirname(made)) {
    await syncFolder(dirname(made))
    if (made === first || made === root) return
  }
}

/** Removes `folder` and the folders above it as long as they are empty; never `root` itself. */
export async function removeEmptyFolders(folder: string, root: string): Promise<void> {
  for (let at = folder; at !== root && at.startsWith(root + sep); at = dirname(at)) {
    try {
      await fs.rmdir(at)
    } catch {
      return
    }
  }
}

/** Windows cannot open folders; there the rename alone has to do. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await fs.open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
