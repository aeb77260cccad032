import { Duplex, Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { BackupError, type ManifestMember, type OpenBackup } from '@taskflow-backup/core'
import { describe, expect, test } from 'vitest'
import { handOn } from '../src/hand-on.ts'

/** A member in the storage that gives `pieces`. */
function stored(pieces: Iterable<Buffer> | AsyncIterable<Buffer>, bytes = 10_000_000) {
  const member = { name: 'one.db', file: 'one.db.zst', stored: { bytes, sha256: '' } } as ManifestMember
  const backup = { openStored: async () => Readable.from(pieces, { objectMode: false }) } as unknown as OpenBackup
  return { backup, member }
}

async function* failing(error: Error) {
  yield Buffer.alloc(1000)
  throw error
}

const broken = () => new Error('read ECONNRESET')
const unreachable = () => new BackupError('POINT_UNREACHABLE', 'It leads past it.')

describe('handOn', () => {
  test('tells why the job failed, not that its channel broke then', async () => {
    let fail: (error: Error) => void = () => {}
    const result = new Promise<never>((_, reject) => {
      fail = reject
    })
    const channel = new Duplex({
      read() {},
      write(_piece, _encoding, done) {
        fail(unreachable())
        process.nextTick(() => channel.destroy(broken()))
        done()
      },
    })
    channel.on('error', () => {})
    async function* endless() {
      for (;;) {
        await setImmediate()
        yield Buffer.alloc(1000)
      }
    }
    await expect(handOn([stored(endless())], { channel, result })).rejects.toMatchObject({ code: 'POINT_UNREACHABLE' })
  })

  test('tells that the storage failed, whatever the job says about what it got', async () => {
    const sink = new Duplex({ read() {}, write: (_piece, _encoding, done) => done() })
    const result = new Promise<never>((_, reject) => {
      sink.once('finish', () => reject(new BackupError('MEMBER_DAMAGED', 'They end too early.')))
    })
    const job = { channel: sink, result }
    const failed = handOn([stored(failing(new BackupError('STORAGE_FAILED', 'It is gone.')))], job)
    await expect(failed).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
  })
})
