/** A folder that the server and this process both see, for example a share or a volume of two containers. */
export interface SharedFolder {
  /** The folder as the server sees it; its service account must be allowed to write there. */
  readonly serverDirectory: string
  /** The same folder as this process sees it. */
  readonly localDirectory: string
  /**
   * Mode of the files that this process writes for a restore, so that the server's account may read them. Default: 0o640.
   */
  readonly fileMode?: number
}

/** The server writes into a folder that both see; the bytes are read from there, then the file is removed. */
export interface SharedFolderTransfer extends SharedFolder {
  readonly type: 'shared-folder'
}

/** The server writes to its own disk and sends the bytes back as the result of a query; then the file is removed. */
export interface ReadBackTransfer {
  readonly type: 'read-back'
  /** Folder on the server, as it sees it. */
  readonly serverDirectory: string
  /** Size that one file is meant to stay under, in bytes; the query takes less than 2 GB. Default: 1,500,000,000. */
  readonly stripeBytes?: number
  /** The way for restores, which this one is not: nothing can be sent to the server over its query language. */
  readonly restoreThrough?: SharedFolder
}

/** The file stays on the server; the backup's member is a small JSON file that tells where. */
export interface OnServerTransfer {
  readonly type: 'on-server'
  /** Folder on the server, as it sees it. */
  readonly serverDirectory: string
}

/** The server writes to an object store: S3 (SQL Server 2022 and later) or Azure. As `on-server` otherwise. */
export interface UrlTransfer {
  readonly type: 'url'
  /** Folder: `s3://host:port/bucket/folder` or `https://account.blob.core.windows.net/container/folder`. */
  readonly url: string
  /** Name of the server's credential. Default: the one whose name begins the URL, as SQL Server finds it. */
  readonly credential?: string
}

/** How the bytes of a backup come from the server. */
export type Transfer = SharedFolderTransfer | ReadBackTransfer | OnServerTransfer | UrlTransfer

const KNOWN: { readonly [type: string]: readonly string[] } = {
  'shared-folder': ['type', 'serverDirectory', 'localDirectory', 'fileMode'],
  'read-back': ['type', 'serverDirectory', 'stripeBytes', 'restoreThrough'],
  'on-server': ['type', 'serverDirectory'],
  url: ['type', 'url', 'credential'],
}
/** OPENROWSET(BULK) gives a varbinary(max): less than 2 GiB. */
const MOST_STRIPE_BYTES = 2_000_000_000

/** Checks `transfer` and adds what is wrong with it to `problems`. */
export function checkTransfer(given: unknown, problems: string[]): Transfer | undefined {
  const transfer = given as Transfer
  const known = KNOWN[transfer?.type]
  if (!known || !Object.hasOwn(KNOWN, transfer.type)) {
    problems.push(`transfer: must be an object whose type is one of ${Object.keys(KNOWN).join(', ')}`)
    return undefined
  }
  for (const name of Object.keys(transfer))
    if (!known.includes(name)) problems.push(`transfer.${name}: is not an option`)
  if (transfer.type === 'url') {
    if (!isFolderUrl(transfer.url))
      problems.push('transfer.url: must be a URL of a folder that begins with s3:// or https://, without a user')
    if (transfer.credential !== undefined && !isText(transfer.credential))
      problems.push('transfer.credential: must be the name of a credential')
    return transfer
  }
  checkFolder('transfer', transfer, transfer.type === 'shared-folder', problems)
  if (transfer.type === 'read-back') {
    const { stripeBytes, restoreThrough } = transfer
    if (
      stripeBytes !== undefined &&
      !(Number.isInteger(stripeBytes) && stripeBytes >= 1 && stripeBytes <= MOST_STRIPE_BYTES)
    )
      problems.push(`transfer.stripeBytes: must be 1 to ${MOST_STRIPE_BYTES}`)
    if (restoreThrough !== undefined) {
      checkFolder('transfer.restoreThrough', restoreThrough, true, problems)
      const { serverDirectory, localDirectory, fileMode, ...others } = restoreThrough as SharedFolder
      for (const name of Object.keys(others)) problems.push(`transfer.restoreThrough.${name}: is not an option`)
    }
  }
  return transfer
}

function checkFolder(prefix: string, given: Partial<SharedFolder>, shared: boolean, problems: string[]): void {
  if (!isText(given?.serverDirectory))
    problems.push(`${prefix}.serverDirectory: must be the path of a folder on the server`)
  if (!shared) return
  if (!isText(given?.localDirectory)) problems.push(`${prefix}.localDirectory: must be the path of a folder`)
  const fileMode = given?.fileMode
  if (fileMode !== undefined && !(Number.isInteger(fileMode) && fileMode >= 0o400 && fileMode <= 0o777))
    problems.push(`${prefix}.fileMode: must be a mode of a file like 0o640`)
}

function isFolderUrl(url: unknown): boolean {
  if (!isText(url) || !URL.canParse(url)) return false
  const { protocol, username, password, search, hash } = new URL(url)
  // A signature in the URL would end in statements and manifests: the server keeps it as a credential.
  return ['s3:', 'https:'].includes(protocol) && [username, password, search, hash].every((part) => part === '')
}

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '' && !value.includes('\0')
