// The folder that the tour works in.
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { BackupError, toBackupError } from '@taskflow-backup/core'

export interface Workplace {
  readonly folder: string
  /** Removes everything that the tour made there. */
  remove(): Promise<void>
}

export async function openWorkplace(wanted: string | undefined): Promise<Workplace> {
  if (wanted === undefined) {
    const folder = await mkdtemp(join(tmpdir(), 'taskflow-tour-'))
    return { folder, remove: () => rm(folder, { recursive: true, force: true }) }
  }
  const folder = resolve(wanted)
  const made = await makeEmpty(folder)
  return {
    folder,
    async remove() {
      if (made !== undefined) return rm(made, { recursive: true, force: true })
      for (const name of await readdir(folder)) await rm(join(folder, name), { recursive: true, force: true })
    },
  }
}

/** Returns the first folder that had to be made; `undefined` when `folder` was there already. */
async function makeEmpty(folder: string): Promise<string | undefined> {
  try {
    const made = await mkdir(folder, { recursive: true, mode: 0o700 })
    if ((await readdir(folder)).length === 0) return made
  } catch (error) {
    throw toBackupError(error, 'TARGET_INVALID', `Cannot work in ${folder}`)
  }
  throw new BackupError('TARGET_EXISTS', `${folder} is not empty.`, { hint: 'Give --dir an empty or a new folder.' })
}
