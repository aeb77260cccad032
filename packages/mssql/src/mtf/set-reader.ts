import { flaw } from './flaw.ts'
import { type Configuration, parseConfiguration, parseSetStart, type SetStart } from './parse.ts'
import { SectorSum } from './sector-sum.ts'
import type { MtfSet } from './types.ts'

/** Builds whose checksums of data are proven. */
const SUMMED_BUILD = /^10\.50\./

/** Gathers one set from its blocks. */
export class SetReader {
  readonly #what: string
  readonly #single: boolean
  #type = ''
  #blocks = 0
  #start: SetStart | undefined
  /** From MSCI, at the beginning, and from MSLS, at the end. */
  #first: Configuration | undefined
  #last: Configuration | undefined
  /** Of the data streams of the block at hand; the sum is judged only where there is one that is not empty. */
  #sum: SectorSum | undefined
  #dataStreams = 0
  #checkedStreams = 0

  /** `single`: the file is the whole media set, so everything must be in it. */
  constructor(what: string, single: boolean) {
    this.#what = what
    this.#single = single
  }

  /** A block of the set begins; `control` is its number. */
  block(type: string, control: number, at: number): void {
    // How several stripes number their blocks is not known.
    if (this.#single && control !== this.#blocks) throw flaw(this.#what, at, 'a block is missing')
    this.#blocks++
    this.#type = type
    this.#sum = undefined
    this.#dataStreams = 0
  }

  start(block: Buffer, at: number): void {
    this.#start = parseSetStart(block)
    if (!this.#start) throw flaw(this.#what, at, 'what it tells about a set makes no sense')
  }

  /** A stream whose payload is passed over; gives what shall see it on the way. */
  stream(id: string, length: number): ((bytes: Buffer) => void) | undefined {
    if ((id !== 'MQDA' && id !== 'MQTL') || length === 0) return undefined
    this.#dataStreams++
    this.#sum = undefined
    if (!this.#first?.hasChecksums || !SUMMED_BUILD.test(this.#first.build)) return undefined
    const sum = new SectorSum()
    this.#sum = sum
    return (bytes) => sum.update(bytes)
  }

  payload(id: string, payload: Buffer, at: number): void {
    if (id === 'MQCI' && this.#type === 'MSCI') this.#first = this.#configuration(payload, at)
    if (id === 'MQCI' && this.#type === 'MSLS') this.#last = this.#configuration(payload, at)
    if (id === 'CSUM') this.#judge(payload, at)
  }

  /** The set, or `undefined` for the part of one that a stripe has without a header. */
  finish(at: number): MtfSet | undefined {
    const [first, last] = [this.#first, this.#last]
    if (!this.#start) throw flaw(this.#what, at, 'a set has no beginning')
    const header = last ?? (this.#single ? undefined : first)
    if (!header) {
      if (this.#single || first) throw flaw(this.#what, at, 'a set has no final header')
      return undefined
    }
    if (first && !sameBackup(first, header))
      throw flaw(this.#what, at, 'the two headers of a set contradict each other')
    const { finishedAt = last ? undefined : header.startedAt, ...facts } = header
    if (finishedAt === undefined) throw flaw(this.#what, at, 'its final header does not tell when it finished')
    return { ...this.#start, ...facts, finishedAt, checkedStreams: this.#checkedStreams }
  }

  #configuration(payload: Buffer, at: number): Configuration {
    const parsed = parseConfiguration(payload, this.#what)
    if (typeof parsed === 'string') throw flaw(this.#what, at, parsed)
    return parsed
  }

  #judge(payload: Buffer, at: number): void {
    const expected = this.#dataStreams === 1 ? this.#sum?.digest() : undefined
    if (expected === undefined || payload.length < 4) return
    if (payload.readUInt32LE(0) !== expected) throw flaw(this.#what, at, 'its data is not what the server wrote')
    this.#checkedStreams++
  }
}

function sameBackup(one: Configuration, other: Configuration): boolean {
  const facts = ({ database, server, kind, build, firstLsn, startedAt, hasChecksums }: Configuration): string =>
    JSON.stringify([database, server, kind, build, String(firstLsn), startedAt, hasChecksums])
  return facts(one) === facts(other)
}
