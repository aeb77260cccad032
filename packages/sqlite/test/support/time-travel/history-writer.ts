// A process that adds to a history at full speed. Run by `startHistoryWriter`.
import { randomFrom } from '../ledger.ts'
import { HistoryWriter } from './history.ts'
import { BURST, Pace } from './pace.ts'

export interface HistoryWriterOrders {
  readonly file: string
  readonly writer: number
  readonly seed: number
  /** Rests up to so long after each burst at full speed, in milliseconds. */
  readonly restMs: number
}

export interface HistoryWriterReport {
  readonly busy: number
  readonly committed: number
}

let pace: Pace | undefined
let hang = false
let stopping = false
process.once('disconnect', () => process.exit())
process.on('message', (message: HistoryWriterOrders | { readonly hurry: number } | 'stop' | 'hang') => {
  if (message === 'stop') stopping = true
  else if (message === 'hang') hang = true
  else if ('hurry' in message) pace?.hurry(message.hurry)
  else void write(message)
})

async function write({ file, writer, seed, restMs }: HistoryWriterOrders): Promise<void> {
  const random = randomFrom(seed)
  const history = new HistoryWriter(file, writer, random)
  pace = new Pace(restMs, random)
  history.add()
  process.send?.({ started: true })
  while (!stopping) {
    for (let i = 0; i < BURST; i++) history.add()
    await pace.rest()
    if (hang) hangInside(history)
  }
  history.database.close()
  const report: HistoryWriterReport = { busy: history.busy, committed: history.committed }
  process.send?.({ report }, () => process.disconnect())
}

/** Stands still in the middle of a transaction that is in the log already, because it was too large for the cache. */
function hangInside(history: HistoryWriter): never {
  history.database.pragma('cache_size = 5')
  for (;;) {
    try {
      history.begin(500)
      break
    } catch (error) {
      if (history.database.inTransaction) history.database.exec('ROLLBACK')
      if (!/^SQLITE_BUSY/.test((error as { code?: string }).code ?? '')) throw error
    }
  }
  process.send?.({ hanging: true })
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10_000)
}
