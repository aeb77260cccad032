import { BackupError } from '../errors.ts'

const SEGMENT = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$/
// Windows opens devices under these names, with any extension.
const RESERVED = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i

/** True for one segment of a key that every storage takes: it can hide no path, no device and no shell word. */
export function isKeySegment(text: string): boolean {
  return SEGMENT.test(text) && !text.endsWith('.') && !RESERVED.test(text)
}

/**
 * Throws unless `key` is one to nine segments of letters, digits, `.`, `_` and `-`, separated by `/`.
 *
 * @throws `KEY_INVALID`
 */
export function assertKey(key: string): void {
  const segments = key.split('/')
  if (segments.length > 9 || !segments.every(isKeySegment)) {
    throw new BackupError('KEY_INVALID', `Not a key for a storage: ${JSON.stringify(key)}.`)
  }
}

/**
 * Like {@link assertKey}, for the begin of keys: may be empty, and its last segment may be cut anywhere.
 *
 * @throws `KEY_INVALID`
 */
export function assertPrefix(prefix: string): void {
  const last = prefix.lastIndexOf('/')
  const rest = prefix.slice(last + 1)
  if (last >= 0) assertKey(prefix.slice(0, last))
  if (rest !== '' && !SEGMENT.test(rest)) {
    throw new BackupError('KEY_INVALID', `Not the begin of a key: ${JSON.stringify(prefix)}.`)
  }
}
