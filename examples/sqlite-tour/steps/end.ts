import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { formatBytes } from '../format.ts'
import type { Scene } from '../scene.ts'

/** What the entries of the tour's folder are, by the begin of their names. */
const MEANINGS = [
  ['taskmanagement.db.before-restore-', 'what a restore replaced, kept for undo'],
  ['live-copy.db.before-restore-', 'what a restore replaced, kept for undo'],
  ['taskmanagement.db', 'the live database'],
  ['live-copy.db', 'the copy on which "live" was played'],
  ['backups-damaged', 'the destination with the flipped byte'],
  ['backups', 'the destination'],
  ['restored-around-the-damage.db', 'restored around the damage'],
  ['restored.db', 'restored beside the live one'],
  ['tiny.db', 'the database of the made-up history'],
] as const

/** Tells what is left, where, and how to get rid of it. */
export async function tellEnd({ screen, folder }: Scene): Promise<void> {
  screen.step('What is left', 'every file is in a standard format: have a look yourself.')
  const names = (await readdir(folder)).filter((name) => !/-(wal|shm)$/.test(name)).sort()
  for (const name of names) {
    const meaning = MEANINGS.find(([begin]) => name.startsWith(begin))?.[1] ?? ''
    const size = formatBytes(await sizeOf(join(folder, name)))
    screen.tell(`${size.padStart(9)}  ${name}: ${meaning}`)
  }
  screen.tell(`All of it is in ${folder}`)
  screen.tell(`Delete it with: ${removalCommand(folder)}`)
}

async function sizeOf(path: string): Promise<number> {
  const found = await stat(path)
  if (!found.isDirectory()) return found.size
  const names = await readdir(path)
  const sizes = await Promise.all(names.map((name) => sizeOf(join(path, name))))
  return sizes.reduce((sum, size) => sum + size, 0)
}

function removalCommand(folder: string): string {
  if (process.platform === 'win32') return `rmdir /s "${folder}"`
  const plain = /^[\w./-]+$/.test(folder)
  return `rm -r ${plain ? folder : `'${folder.replaceAll("'", "'\\''")}'`}`
}
