import type { Manifest, ManifestMember } from '@taskflow-backup/core'

// Names of the members of a backup: `<stem>.db` and `<stem>.pagehashes` of a full, `<stem>.changes` of the others.

export const IMAGE_SUFFIX = '.db'
export const PAGE_HASHES_SUFFIX = '.pagehashes'
export const CHANGES_SUFFIX = '.changes'

/** The member whose name ends so. */
export const memberNamed = ({ members }: Manifest, suffix: string): ManifestMember | undefined =>
  members.find(({ name }) => name.endsWith(suffix))
