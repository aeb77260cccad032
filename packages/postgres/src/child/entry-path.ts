import { BackupError } from '@taskflow-backup/core'

/**
 * The path of a tar entry as segments joined by `/`, without a leading `./` or a trailing `/`; empty for the folder
 * itself. Everything that could lead out of the folder that it is unpacked into is refused.
 *
 * @throws `MEMBER_DAMAGED`
 */
export function entryPath(name: string): string {
  const refuse = (why: string): never => {
    throw new BackupError('MEMBER_DAMAGED', `The archive has an entry ${JSON.stringify(name)}, ${why}.`)
  }
  if (name.includes('\0')) refuse('with a null byte')
  if (name.includes('\\')) refuse('with a backslash')
  if (name.startsWith('/')) refuse('an absolute path')
  const segments = name.replace(/\/$/, '').split('/')
  while (segments[0] === '.') segments.shift()
  for (const segment of segments) {
    if (segment === '..') refuse('which leads out of its folder')
    if (segment === '' || segment === '.') refuse('which has an empty part')
    // A drive or a stream of NTFS; PostgreSQL itself gives no file such a name.
    if (process.platform === 'win32' && segment.includes(':')) refuse('with a colon')
  }
  return segments.join('/')
}
