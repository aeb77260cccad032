import {
  chownSync,
  closeSync,
  existsSync,
  fchownSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { BackupError, type ManifestMember } from '@taskflow-backup/core'
import type { Owner } from '../physical/lay-out-job.ts'
import { parseMemberName } from '../physical/member-names.ts'
import { historyName, segmentName } from '../physical/segments.ts'
import { parseHistory } from '../physical/timeline.ts'
import type { MemberSource } from './member-source.ts'
import type { WalStretch } from './wal-scan.ts'
import { writeAll } from './write-all.ts'

/** A history file has a line per timeline. */
const MAX_HISTORY_BYTES = 4 * 1024 * 1024
const COPY_BYTES = 1024 * 1024

/** Writes ranges of the log into whole segment files in the folder `pg_wal` of a restored cluster. */
export class WalFolder {
  readonly #folder: string
  readonly #segmentBytes: number
  readonly #owner: Owner | undefined
  /** The history file of the last backup of logs that has one: those of its ancestors are in it. */
  #history: { readonly timeline: number; readonly text: string } | undefined

  constructor(folder: string, segmentBytes: number, owner: Owner | undefined) {
    this.#folder = folder
    this.#segmentBytes = segmentBytes
    this.#owner = owner
  }

  /** Lays the next member of a log backup. */
  async lay(member: ManifestMember, source: MemberSource): Promise<void> {
    const what = parseMemberName(member.name)
    if (what?.kind === 'history') {
      const text = (await source.read(member, MAX_HISTORY_BYTES)).toString('utf8')
      const file = join(this.#folder, historyName(what.timeline))
      writeFileSync(file, text, { mode: 0o600 })
      if (this.#owner) chownSync(file, this.#owner.uid, this.#owner.gid)
      if (what.timeline >= (this.#history?.timeline ?? 0)) this.#history = { timeline: what.timeline, text }
      return
    }
    if (what?.kind !== 'wal')
      throw new BackupError('MEMBER_DAMAGED', `A log backup has a member ${member.name}, which means nothing here.`)
    const { timeline } = what.begin
    let position = what.begin.lsn
    let open: { readonly name: string; readonly fd: number } | undefined
    try {
      for await (const piece of source.open(member)) {
        for (let rest = piece; rest.length > 0; ) {
          const name = segmentName(timeline, position, this.#segmentBytes)
          if (open?.name !== name) {
            if (open) closeSync(open.fd)
            open = { name, fd: this.#openSegment(name) }
          }
          const offset = Number(position % BigInt(this.#segmentBytes))
          const part = rest.subarray(0, this.#segmentBytes - offset)
          writeAll(open.fd, part, offset)
          position += BigInt(part.length)
          rest = rest.subarray(part.length)
        }
      }
    } finally {
      if (open) closeSync(open.fd)
    }
  }

  /**
   * Where a timeline was left inside a segment, the server looks for that segment's begin in the file of the new
   * timeline: what came before is copied there from the old one's.
   */
  joinTimelines(): void {
    if (!this.#history) return
    const ends = parseHistory(this.#history.text)
    for (const [index, { timeline, leftAt }] of ends.entries()) {
      const next = ends[index + 1]?.timeline ?? this.#history.timeline
      const length = Number(leftAt % BigInt(this.#segmentBytes))
      const from = join(this.#folder, segmentName(timeline, leftAt, this.#segmentBytes))
      const to = segmentName(next, leftAt, this.#segmentBytes)
      if (length > 0 && existsSync(from) && existsSync(join(this.#folder, to))) this.#copyBegin(from, to, length)
    }
  }

  /** The log that a recovery goes through, timeline after timeline. */
  stretches(timeline: number, begin: bigint): WalStretch[] {
    const stretches: WalStretch[] = []
    let at = begin
    for (const { timeline: one, leftAt } of this.#history ? parseHistory(this.#history.text) : []) {
      if (one < timeline || leftAt <= at) continue
      stretches.push({ timeline: one, begin: at, end: leftAt })
      at = leftAt
    }
    return [...stretches, { timeline: Math.max(timeline, this.#history?.timeline ?? 0), begin: at }]
  }

  #copyBegin(from: string, to: string, length: number): void {
    const source = openSync(from, 'r')
    const target = this.#openSegment(to)
    try {
      const buffer = Buffer.allocUnsafe(COPY_BYTES)
      for (let at = 0; at < length; ) {
        const read = readSync(source, buffer, 0, Math.min(buffer.length, length - at), at)
        if (read === 0) throw new BackupError('MEMBER_DAMAGED', `${from} is shorter than a segment of the log.`)
        writeAll(target, buffer.subarray(0, read), at)
        at += read
      }
    } finally {
      closeSync(source)
      closeSync(target)
    }
  }

  /** Opens a segment, or makes it, of its full length: zeros where nothing is written. */
  #openSegment(name: string): number {
    const file = join(this.#folder, name)
    const fd = existsSync(file) ? openSync(file, 'r+') : openSync(file, 'wx+', 0o600)
    try {
      if (this.#owner) fchownSync(fd, this.#owner.uid, this.#owner.gid)
      if (fstatSync(fd).size !== this.#segmentBytes) ftruncateSync(fd, this.#segmentBytes)
    } catch (error) {
      closeSync(fd)
      throw error
    }
    return fd
  }
}
