import type { Socket } from 'node:net'
import {
  BackupError,
  type Compression,
  type JobTools,
  meterFor,
  openChannel,
  toBackupError,
} from '@taskflow-backup/core'
import type { ConnectionSettings } from '../connection.ts'
import { MemberSender } from '../member-channel.ts'
import { type ChecksumAlgorithm, preferredAlgorithm } from '../physical/file-checksum.ts'
import { backupManifestMember, baseMember, tablespaceMember } from '../physical/member-names.ts'
import { ReplicationConnection, type ReplicationRow } from '../replication/connection.ts'
import { quoteLiteral, quoteName } from '../replication/quote.ts'
import { type ArchiveEvent, type ArchiveListeners, copyArchives } from './archive-stream.ts'
import { FileCheck } from './file-check.ts'
import { sendMember } from './send-member.ts'
import { decompressed } from './server-compression.ts'
import { SlabPool } from './slab-pool.ts'
import { uploadManifest } from './upload-manifest.ts'

export interface BaseBackupInput {
  readonly settings: ConnectionSettings
  readonly fileStem: string
  readonly label: string
  readonly compression: Compression
  readonly checkpoint: 'fast' | 'spread'
  readonly maxRateKb?: number
  readonly serverCompression: 'none' | 'zstd' | 'gzip'
  /** Keep the log that the backup needs by a slot that goes with the connection. */
  readonly temporarySlot?: string
  /** Set for an incremental one: the length of the full's manifest, which the parent sends over the channel. */
  readonly baseManifestBytes?: number
}

export interface BaseBackupFacts {
  readonly startTimeline: number
  readonly startLsn: string
  readonly endTimeline: number
  readonly endLsn: string
  readonly tablespaces: readonly { readonly oid: string; readonly path: string }[]
  readonly files: number
  readonly fileBytes: number
}

/** Has the server read the whole cluster, and sends each archive on, checked and compressed. */
export async function sendBaseBackup(input: BaseBackupInput, tools: JobTools): Promise<BaseBackupFacts> {
  const channel = openChannel()
  const connection = await ReplicationConnection.connect(input.settings)
  try {
    if (input.temporarySlot !== undefined) await keepLog(connection, input.temporarySlot, tools)
    if (input.baseManifestBytes !== undefined) await uploadManifest(connection, channel, input.baseManifestBytes)
    return await new BaseBackup(input, channel, tools).run(connection)
  } catch (error) {
    throw withoutCompression(error, input.serverCompression)
  } finally {
    await connection.close()
  }
}

/** What a server says that was built without the library. */
function withoutCompression(error: unknown, method: BaseBackupInput['serverCompression']): unknown {
  if (!(error instanceof BackupError) || method === 'none' || !/compress/.test(error.message)) return error
  return new BackupError('SERVER_UNSUPPORTED', `The server cannot compress with ${method}. ${error.message}`, {
    hint: "Set physical.serverCompression to 'none', or to a method that the server was built with.",
    cause: error,
  })
}

/** Without it a long backup on a busy server could find log that it needs removed, and fail. */
async function keepLog(connection: ReplicationConnection, slot: string, { onWarning }: JobTools): Promise<void> {
  try {
    await connection.run(`CREATE_REPLICATION_SLOT ${quoteName(slot)} TEMPORARY PHYSICAL RESERVE_WAL`)
  } catch (error) {
    const { message } = toBackupError(error, 'SERVER_FAILED', 'The server failed')
    onWarning(`No temporary slot keeps the write-ahead log during this backup: ${message}`)
  }
}

class BaseBackup {
  readonly #input: BaseBackupInput
  readonly #sender: MemberSender
  readonly #tools: JobTools
  readonly #algorithm = preferredAlgorithm()
  readonly #pool = new SlabPool()
  readonly #check = new FileCheck(this.#algorithm)
  /** What the server said that it will send. */
  #totalBytes = 0

  constructor(input: BaseBackupInput, channel: Socket, tools: JobTools) {
    this.#input = input
    this.#sender = new MemberSender(channel)
    this.#tools = tools
  }

  async run(connection: ReplicationConnection): Promise<BaseBackupFacts> {
    const { onProgress } = this.#tools
    const listeners: ArchiveListeners = {
      onRow: ({ size }) => {
        this.#totalBytes += Number(size ?? 0) * 1024
      },
      // The log that comes behind the data is not in the server's estimate.
      onProgress: (bytes) => onProgress(bytes, Math.max(bytes, this.#totalBytes)),
    }
    const command = baseBackupCommand(this.#input, this.#algorithm)
    const events = copyArchives(connection, command, listeners, this.#pool)
    let files = { files: 0, fileBytes: 0 }
    try {
      let step = await this.#next(events)
      while (!step.done) {
        const { value: event } = step
        const rest: { next?: typeof step } = {}
        const chunks = this.#chunksOf(events, rest)
        if (event.kind === 'archive') await this.#sendArchive(event.name, chunks)
        else files = await this.#sendManifest(chunks)
        step = rest.next ?? (await this.#next(events))
      }
      await this.#sender.finish()
      return { ...factsOf(step.value), ...files }
    } finally {
      await events.return([])
    }
  }

  async #next(events: AsyncGenerator<ArchiveEvent, ReplicationRow[][], void>) {
    return events.next()
  }

  /** The data up to the next archive, which is left in `rest`. */
  async *#chunksOf(
    events: AsyncGenerator<ArchiveEvent, ReplicationRow[][], void>,
    rest: { next?: IteratorResult<ArchiveEvent, ReplicationRow[][]> },
  ): AsyncGenerator<Buffer> {
    for (;;) {
      const step = await events.next()
      if (step.done || step.value.kind !== 'data') {
        rest.next = step
        return
      }
      yield step.value.bytes
    }
  }

  async #sendArchive(archive: string, chunks: AsyncIterable<Buffer>): Promise<void> {
    const { fileStem, compression } = this.#input
    const oid = /^([0-9]+)\.tar/.exec(archive)?.[1]
    const name = oid === undefined ? baseMember(fileStem) : tablespaceMember(fileStem, oid)
    const tar = this.#check.tar(name, oid === undefined ? '' : `pg_tblspc/${oid}/`)
    const meter = meterFor(this.#totalBytes)
    try {
      const plain = decompressed(archive, chunks, this.#pool)
      const watch = {
        onPlain: (chunk: Buffer) => tar.update(chunk),
        onDone: (chunk: Buffer) => this.#pool.give(chunk),
        onEnd: () => tar.end(),
      }
      await sendMember(this.#sender, name, plain, compression, watch, meter)
    } finally {
      await meter.end()
    }
  }

  async #sendManifest(chunks: AsyncIterable<Buffer>): Promise<{ files: number; fileBytes: number }> {
    const name = backupManifestMember(this.#input.fileStem)
    const manifest = this.#check.manifest(name)
    let found = { files: 0, fileBytes: 0 }
    await sendMember(this.#sender, name, chunks, this.#input.compression, {
      onPlain: (chunk) => manifest.update(chunk),
      onEnd: () => {
        const { files, fileBytes, ...rest } = manifest.end()
        this.#check.finish({ files, fileBytes, ...rest })
        found = { files, fileBytes }
      },
    })
    return found
  }
}

function baseBackupCommand(input: BaseBackupInput, algorithm: ChecksumAlgorithm): string {
  const { label, checkpoint, maxRateKb, serverCompression, baseManifestBytes } = input
  const options = [
    `LABEL ${quoteLiteral(label)}`,
    'PROGRESS true',
    `CHECKPOINT ${quoteLiteral(checkpoint)}`,
    'WAL true',
    'WAIT false', // for the server's own archiving, of which this backup does not depend
    'TABLESPACE_MAP true',
    "MANIFEST 'yes'",
    `MANIFEST_CHECKSUMS ${quoteLiteral(algorithm)}`,
  ]
  if (maxRateKb !== undefined) options.push(`MAX_RATE ${maxRateKb}`)
  if (serverCompression !== 'none') options.push(`COMPRESSION ${quoteLiteral(serverCompression)}`)
  if (baseManifestBytes !== undefined) options.push('INCREMENTAL true')
  return `BASE_BACKUP (${options.join(', ')})`
}

/** Of the three results: where it starts, the tablespaces, and where it ends. */
function factsOf(results: ReplicationRow[][]): Omit<BaseBackupFacts, 'files' | 'fileBytes'> {
  const [[start] = [], tablespaces = []] = results
  const end = results.at(-1)?.[0]
  return {
    startTimeline: Number(start?.tli),
    startLsn: String(start?.recptr),
    endTimeline: Number(end?.tli),
    endLsn: String(end?.recptr),
    tablespaces: tablespaces.flatMap(({ spcoid, spclocation }) =>
      spcoid == null ? [] : [{ oid: spcoid, path: String(spclocation) }],
    ),
  }
}
