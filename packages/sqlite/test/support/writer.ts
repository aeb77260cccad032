// A process that adds to ledgers at full speed until it is told to stop. Run by `place.writer()`.
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import { LedgerWriter, randomFrom } from './ledger.ts'

export interface WriterOrders {
  /** Ledgers, written to in turn. */
  readonly files: readonly string[]
  /** Number of this writer in the ledgers; also seeds its choices. */
  readonly writer: number
  /** Probabilities per transaction. */
  readonly checkpoint?: number
  readonly vacuum?: number
  readonly spill?: number
  /** Rest after every round. Default: none, which takes a whole processor. */
  readonly pauseMs?: number
}

export interface WriterReport {
  readonly busy: number
  /** Errors other than a lock that was busy. */
  readonly unexpected: readonly string[]
  /** Per file, the number of the last committed transaction. */
  readonly last: Readonly<Record<string, number>>
}

const MODES = ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'] as const

let stopping = false
process.on('message', (message: WriterOrders | 'stop') => {
  if (message === 'stop') stopping = true
  else void write(message).then((report) => process.send?.({ report }, () => process.disconnect()))
})
process.once('disconnect', () => process.exit())

async function write({
  files,
  writer,
  checkpoint = 0,
  vacuum = 0,
  spill = 0,
  pauseMs,
}: WriterOrders): Promise<WriterReport> {
  const random = randomFrom(writer)
  const ledgers = files.map((file) => ({ file, ledger: new LedgerWriter(file, writer, random) }))
  const unexpected: string[] = []
  let busy = 0
  const attempt = (work: () => void): void => {
    try {
      work()
    } catch (error) {
      const { code = '', message } = error as { code?: string; message: string }
      if (/^SQLITE_(BUSY|LOCKED)/.test(code)) busy++
      else if (unexpected.length < 20) unexpected.push(`${code} ${message}`)
    }
  }
  for (let round = 0; !stopping; round++) {
    for (const { ledger } of ledgers) {
      attempt(() => ledger.add(random() < spill))
      if (random() < checkpoint)
        attempt(() => ledger.database.pragma(`wal_checkpoint(${MODES[Math.floor(random() * 4)]})`))
      if (random() < vacuum)
        attempt(() => ledger.database.exec(random() < 0.5 ? 'VACUUM' : 'PRAGMA incremental_vacuum(20)'))
    }
    if (round === 0) process.send?.({ started: true })
    if (pauseMs !== undefined) await sleep(pauseMs)
    else if (round % 20 === 0) await setImmediate()
  }
  const last = Object.fromEntries(ledgers.map(({ file, ledger }) => [file, ledger.committed]))
  for (const { ledger } of ledgers) attempt(() => ledger.database.close())
  return { busy, unexpected, last }
}
