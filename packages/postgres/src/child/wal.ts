import { setTimeout as sleep } from 'node:timers/promises'
import { BackupError, type Compression, meterFor, openChannel, toBackupError } from '@taskflow-backup/core'
import type { ConnectionSettings } from '../connection.ts'
import { MemberSender } from '../member-channel.ts'
import { walMember } from '../physical/member-names.ts'
import { formatLsn, parseLsn } from '../position.ts'
import { ReplicationConnection } from '../replication/connection.ts'
import { sendMember } from './send-member.ts'
import { SlabPool } from './slab-pool.ts'
import { streamWal, type WalRange } from './wal-stream.ts'

/** Tries after one another without a byte in between. */
const MOST_FAILURES = 6
const FIRST_PAUSE_MS = 50

export interface WalInput {
  readonly settings: ConnectionSettings
  readonly slot: string
  readonly systemIdentifier: string
  /** Everything before it is in committed backups: the slot may move up to here. */
  readonly committed: string
  /** Gapless, each on one timeline. */
  readonly spans: readonly { readonly timeline: number; readonly begin: string; readonly end: string }[]
  readonly fileStem: string
  readonly compression: Compression
}

/** Streams the spans of the log, each as a member of its own. */
export async function sendWal(input: WalInput, onProgress: (bytes: number, totalBytes: number) => void): Promise<null> {
  const sender = new MemberSender(openChannel())
  const pool = new SlabPool()
  const ranges = input.spans.map(({ timeline, begin, end }) => ({
    timeline,
    begin: parseLsn(begin),
    end: parseLsn(end),
  }))
  const totalBytes = ranges.reduce((sum, { begin, end }) => sum + Number(end - begin), 0)
  let bytes = 0
  for (const range of ranges) {
    const chunks = readRange(input, range, pool)
    // A log that cannot be had is found before the member begins.
    const first = await chunks.next()
    const name = walMember(input.fileStem, { timeline: range.timeline, lsn: range.begin })
    const meter = meterFor(Number(range.end - range.begin))
    const watch = {
      onPlain: (chunk: Buffer) => {
        bytes += chunk.length
        onProgress(bytes, totalBytes)
      },
      onDone: (chunk: Buffer) => pool.give(chunk),
    }
    try {
      await sendMember(sender, name, startingWith(first, chunks), input.compression, watch, meter)
    } finally {
      await meter.end()
    }
  }
  await sender.finish()
  return null
}

async function* startingWith(
  first: IteratorResult<Buffer, void>,
  rest: AsyncGenerator<Buffer, void, void>,
): AsyncGenerator<Buffer> {
  if (first.done) return
  yield first.value
  yield* rest
}

/** The bytes of a range, over as many connections as it takes: each goes on where the last one broke. */
async function* readRange(input: WalInput, range: WalRange, pool: SlabPool): AsyncGenerator<Buffer, void, void> {
  let at = range.begin
  for (let failures = 0; at < range.end; ) {
    try {
      for await (const bytes of readOnce(input, { ...range, begin: at }, pool)) {
        at += BigInt(bytes.length)
        failures = 0
        yield bytes
      }
    } catch (thrown) {
      const error = toBackupError(thrown, 'SERVER_FAILED', 'The server failed')
      if (isGone(error)) throw cannotContinue(error, at)
      if (!error.retryable || ++failures === MOST_FAILURES) throw slotInUse(error, input.slot)
      await sleep(FIRST_PAUSE_MS * 2 ** failures)
    }
  }
}

async function* readOnce(input: WalInput, range: WalRange, pool: SlabPool): AsyncGenerator<Buffer, void, void> {
  const connection = await ReplicationConnection.connect(input.settings)
  try {
    const { systemid } = await connection.row('IDENTIFY_SYSTEM')
    if (systemid !== input.systemIdentifier)
      throw new BackupError('SERVER_FAILED', `Another cluster answers now, with the system identifier ${systemid}.`)
    yield* streamWal(connection, input.slot, range, parseLsn(input.committed), pool)
  } finally {
    await connection.close()
  }
}

/** SQLSTATEs of a server that has not got what we need: removed segments, an invalidated slot, an unknown timeline. */
function isGone({ code, cause }: BackupError): boolean {
  const state = (cause as { code?: string } | undefined)?.code
  return code === 'SERVER_FAILED' && state !== undefined && ['58P01', '55000', '42704', '22023'].includes(state)
}

function cannotContinue(error: BackupError, at: bigint): BackupError {
  return new BackupError('BASE_UNUSABLE', `The log cannot be continued at ${formatLsn(at)}: ${error.message}`, {
    cause: error,
  })
}

/** A walsender of ours that was killed lets go of the slot within a moment; another program does not. */
function slotInUse(error: BackupError, slot: string): BackupError {
  if (error.code !== 'DATABASE_IN_USE') return error
  return new BackupError('SERVER_BUSY', `Something else reads the replication slot "${slot}": ${error.message}`, {
    hint: 'Give each plan a slot of its own, and let no other program use it.',
    cause: error,
    retryable: true,
  })
}
