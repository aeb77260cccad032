import { BackupError } from '@taskflow-backup/core'
import { type ChecksumAlgorithm, type FileChecksum, fileChecksum } from '../physical/file-checksum.ts'
import { type ManifestFacts, ManifestScanner } from '../physical/manifest-scanner.ts'
import { TarScanner } from '../physical/tar-scanner.ts'

/** What was seen of a file: its length and checksum, in one text to be small. */
type Seen = string

const seenAs = (sizeBytes: number, algorithm: ChecksumAlgorithm, checksum: string): Seen =>
  `${sizeBytes}:${algorithm}:${checksum}`

/** Segments of the log travel in the tar but are not in the manifest; what lies beside them may be. */
const isSegment = (path: string): boolean => /^pg_wal\/[0-9A-F]{24}$/.test(path)

/**
 * Holds every file of a base backup against the server's manifest, which comes last: keeps length and checksum of each file
 * as it passes, and strikes it off when the manifest names it.
 */
export class FileCheck {
  readonly #algorithm: ChecksumAlgorithm
  readonly #seen = new Map<string, Seen>()
  readonly #problems: string[] = []
  #problemCount = 0

  /** `algorithm` is the one that the server was asked for. */
  constructor(algorithm: ChecksumAlgorithm) {
    this.#algorithm = algorithm
  }

  /** A scanner for one tar, whose files lie at `folder` (with a slash at its end) below the data directory. */
  tar(what: string, folder: string): TarScanner {
    let checksum: FileChecksum | undefined
    let path = ''
    let sizeBytes = 0
    return new TarScanner(what, {
      onEntry: (entry) => {
        checksum = undefined
        path = folder + entry.name.replace(/^\.\//, '')
        if (entry.type !== 'file' || isSegment(path)) return
        sizeBytes = entry.sizeBytes
        checksum = fileChecksum(this.#algorithm)
      },
      onContent: (piece) => checksum?.update(piece),
      onEntryEnd: () => {
        if (!checksum) return
        if (this.#seen.has(path)) this.#problem(`${path} came twice`)
        this.#seen.set(path, seenAs(sizeBytes, this.#algorithm, checksum.digest()))
      },
    })
  }

  /** A scanner for the manifest, which compares. */
  manifest(what: string): ManifestScanner {
    return new ManifestScanner(what, ({ path, sizeBytes, algorithm, checksum }) => {
      const seen = this.#seen.get(path)
      this.#seen.delete(path)
      if (seen === undefined) this.#problem(`${path} did not come`)
      else if (seen !== seenAs(sizeBytes, algorithm, checksum)) this.#problem(`${path} is not what the server read`)
    })
  }

  /** @throws `SERVER_FAILED` when any file is missing, extra or different */
  finish(facts: ManifestFacts): void {
    for (const path of this.#seen.keys())
      if (!path.startsWith('pg_wal/')) this.#problem(`${path} is not in the manifest`)
    if (this.#problemCount === 0) return
    const more = this.#problemCount - this.#problems.length
    throw new BackupError(
      'SERVER_FAILED',
      `The base backup of ${facts.files} files is not what its manifest says: ${this.#problems.join('; ')}${more > 0 ? `; and ${more} more` : ''}.`,
      {
        hint: 'Bytes were lost or changed between the server and here. Look at the network, then start again.',
        retryable: true,
      },
    )
  }

  #problem(text: string): void {
    this.#problemCount++
    if (this.#problems.length < 10) this.#problems.push(text)
  }
}
