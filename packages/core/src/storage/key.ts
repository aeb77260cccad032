import { BackupError } from '../errors.ts'

/** The begin of a segment, cut anywhere. */
const BEGIN = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$/
/** A whole segment. Windows drops a dot at the end, and opens devices under the names at the front, with any extension. */
export const KEY_SEGMENT = /^(?!(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))[A-Z0-9_][A-Z0-9._-]{0,199}(?<!\.)$/i

/** True for one segment of a key that every storage takes: it can hide no path, no device and no shell word. */
export const isKeySegment = (text: string): boolean => KEY_SEGMENT.test(text)

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
  if (rest !== '' && !BEGIN.test(rest)) {
    throw new BackupError('KEY_INVALID', `Not the begin of a key: ${JSON.stringify(prefix)}.`)
  }
}
