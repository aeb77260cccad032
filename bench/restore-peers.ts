// Restores of a stored base backup with nothing but a shell: what others would type.
import { quote } from './measure.ts'

export interface StoredBase {
  /** The tar, compressed with zstd. */
  readonly tar: string
  /** The server's manifest, compressed with zstd. */
  readonly manifest: string
}

export interface RunAs {
  readonly uid: number
  readonly gid: number
}

/** Unpacks and flushes. Nothing is checked, nothing recovered. */
export const unpackOnly = ({ tar }: StoredBase, folder: string): string =>
  `zstd -qdc ${quote(tar)} | tar -x -C ${quote(folder)} -f - && sync`

/** What ours does with a stored dump: both hashes, a file that several jobs can read, statistics. */
export const sameChecksOfDump = (dump: string, plain: string, database: string): string =>
  [
    `sha256sum ${quote(dump)} > /dev/null`,
    `zstd -qdc ${quote(dump)} | tee >(sha256sum > /dev/null) > ${quote(plain)}`,
    `pg_restore -j2 -d ${database} ${quote(plain)}`,
    `vacuumdb --quiet --analyze-only --jobs=2 ${database}`,
    `rm ${quote(plain)}`,
  ].join(' && ')

/**
 * The checks of ours: SHA-256 of what is stored and of what it holds, every file against the server's manifest,
 * recovery, and every table and B-tree index through amcheck. The `--no-parse-wal` spares what recovery shows anyway.
 */
export function sameChecks({ tar, manifest }: StoredBase, folder: string, programs: string, runAs?: RunAs): string {
  const at = quote(folder)
  const as = runAs ? `setpriv --reuid=${runAs.uid} --regid=${runAs.gid} --clear-groups ` : ''
  return [
    `sha256sum ${quote(tar)} > /dev/null`,
    `zstd -qdc ${quote(tar)} | tee >(sha256sum > /dev/null) | tar -x -C ${at} -f -`,
    `zstd -qdc ${quote(manifest)} > ${at}/backup_manifest`,
    `pg_verifybackup --quiet --no-parse-wal ${at}`,
    ...(runAs ? [`chown -R ${runAs.uid}:${runAs.gid} ${at}`] : []),
    `chmod -R go= ${at}`,
    `{ ${as}${quote(`${programs}/postgres`)} -D ${at} -c listen_addresses= -c unix_socket_directories=${at} -c fsync=on > /dev/null 2>&1 & }`,
    `until pg_isready --quiet --host=${at}; do sleep 0.02; done`,
    `pg_amcheck --host=${at} --all --jobs=2 --install-missing --exclude-toast-pointers > /dev/null`,
    'kill -INT $!',
    'wait $!',
    'sync',
  ].join(' && ')
}
