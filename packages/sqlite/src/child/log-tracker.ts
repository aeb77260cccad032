import { BackupError } from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import type { DatabaseFacts, SourceSettings } from '../jobs.ts'
import { Captured, type Start } from './captured.ts'
import type { CaptureClock } from './clock.ts'
import { compareImage } from './compare.ts'
import { sourceError } from './errors.ts'
import { cannotFollow, FollowedFile, type Opened, versionOf } from './followed-file.ts'
import { openImage } from './image.ts'
import type { LogPins } from './log-pins.ts'
import { LogReader } from './log-reader.ts'
import { type Capturing, LogSeal, type SealLimits } from './log-seal.ts'

const MEGABYTE = 1024 * 1024
/** In rollback-journal mode every look reads the whole database: it rests for so many times as long as that took. */
const REST_FACTOR = 20

/** Bounds of what is captured; tests have smaller ones. */
export interface TrackerLimits extends SealLimits {
  /** More than this does not wait for a backup: it is dropped, and compared later. */
  readonly pendingBytes: number
  readonly historyBytes?: number
}

const LIMITS: TrackerLimits = {
  sealBytes: 16 * MEGABYTE,
  behindBytes: 16 * MEGABYTE,
  sealWaitMs: 300,
  mostBytes: 64 * MEGABYTE,
  mostWaitMs: 2000,
  pendingBytes: 1024 * MEGABYTE,
}

export interface TrackerOptions {
  readonly settings: SourceSettings
  readonly clock: CaptureClock
  /** Keeps standing on the log between looks; without it there is one look only. */
  readonly follow: boolean
  readonly limits?: Partial<TrackerLimits>
}

/**
 * Captures what is committed to one database, look by look, without ever missing something silently: from the frames of
 * the write-ahead log where they provably go on, else by comparing every page.
 */
export class LogTracker {
  readonly #settings: SourceSettings
  readonly #clock: CaptureClock
  readonly #follow: boolean
  readonly #limits: TrackerLimits
  readonly #file: FollowedFile
  readonly #reader: LogReader
  readonly #seal: LogSeal
  #captured: Captured
  /** Why the next look has to compare. */
  #mustCompare: string | undefined
  /** In rollback-journal mode: what the file was at the last comparison, and when the next one may be. */
  #compared: { readonly version: string; readonly restUntilMs: number } | undefined
  /** Of a comparison that found more than may wait: otherwise it would be dropped and made again without end. */
  #comparedBytes = 0
  #notes: string[] = []

  constructor(base: Start, { settings, clock, follow, limits }: TrackerOptions) {
    this.#settings = settings
    this.#clock = clock
    this.#follow = follow
    this.#limits = { ...LIMITS, ...limits }
    this.#file = new FollowedFile(settings, follow)
    const onHalf = (): void => this.drop('What was captured could not be kept.')
    this.#reader = new LogReader({ mark: base.mark, clock, onHalf })
    this.#seal = new LogSeal(this.#limits)
    this.#captured = new Captured(base, settings.temporaryDirectory, this.#limits.historyBytes)
  }

  get captured(): Captured {
    return this.#captured
  }

  /** Committed bytes in the write-ahead log at the last look. */
  get logBytes(): number {
    return this.#reader.logBytes
  }

  /** Milliseconds since 1970. */
  get now(): number {
    return this.#clock.now()
  }

  /** What a person should know about the last comparison. */
  get notes(): readonly string[] {
    return this.#notes
  }

  /** Bytes that were committed to the write-ahead log since the last look; 0 where that cannot be told now. */
  bytesSince(): number {
    const { pins } = this.#file.opened ?? {}
    try {
      return pins ? this.#reader.bytesSince(pins, this.#captured.table.pageSize) : 0
    } catch {
      return 0 // the next look tells what is wrong
    }
  }

  database(): DatabaseFacts {
    return this.#file.describe(this.#captured.table.pageCount)
  }

  /**
   * Captures everything that was committed until now. Without WAL mode only what it can without reading the database too
   * often, unless it is `urgent`.
   *
   * @throws `BASE_UNUSABLE` when the chain cannot be continued; `SOURCE_…`; then what was captured before is still there
   */
  async look({ urgent = false } = {}): Promise<void> {
    try {
      const { opened, changed } = this.#file.open(this.#captured.table.pageSize)
      this.#mustCompare ??= changed
      const { pins } = opened
      const capturing = pins && this.#follow && this.#mustCompare === undefined && this.#capturing(pins)
      if (capturing && this.#reader.isHeldBy(pins)) this.#seal.sealWhenBehind(pins, capturing)
      const reason = pins ? this.#lookAtLog(pins) : this.#lookAtFile(opened, urgent)
      if (reason !== undefined) await this.#compare(opened, reason)
      if (capturing && this.#reader.isHeldBy(pins)) this.#seal.sealWhenDue(pins, capturing)
    } catch (error) {
      throw sourceError(error, this.#settings.file)
    }
    if (this.#captured.pendingBytes > Math.max(this.#limits.pendingBytes, 2 * this.#comparedBytes))
      this.drop('More was waiting for the destination than is kept.')
  }

  /** Forgets what waits for a backup; the next look compares, and what is in between becomes a gap. */
  drop(reason: string): void {
    this.#captured.drop()
    this.#mustCompare = reason
  }

  /** From now on what is captured continues another full. @throws `BASE_UNUSABLE` */
  continueFrom(base: Start): void {
    this.#clock.atLeast(base.notBefore)
    if (this.#captured.continueFrom(base)) return
    this.#captured.clear()
    this.#captured = new Captured(base, this.#settings.temporaryDirectory, this.#limits.historyBytes)
    this.#reader.goOnFrom(base.mark)
    this.#mustCompare = undefined
    this.#compared = undefined
  }

  /** Lets go of the database without removing its log; for tests, a child process just ends. */
  close(): void {
    this.#file.close()
  }

  /** @returns why it has to be compared, if it has */
  #lookAtLog(pins: LogPins): string | undefined {
    return this.#mustCompare ?? this.#reader.look(pins, this.#captured)
  }

  /** In rollback-journal mode there is nothing but the file: compared when it changed, and not all the time. */
  #lookAtFile(opened: Opened, urgent: boolean): string | undefined {
    if (!this.#follow || this.#mustCompare !== undefined) return this.#mustCompare ?? this.#file.whyNoLog(opened)
    if (this.#compared?.version === versionOf(opened.source)) {
      const now = this.#clock.now()
      const reason = this.#file.whyNoLog(opened)
      const looked = { lookedAt: now, capturedAt: now, how: 'comparison', reason } as const
      this.#captured.endStep(this.#captured.table.state, looked)
      return undefined
    }
    if (!urgent && this.#compared && performance.now() < this.#compared.restUntilMs) return undefined
    return this.#file.whyNoLog(opened)
  }

  /** Sound whatever happened. A connection of ours stands on the log before the image's lets go of it. */
  async #compare({ source, pins }: Opened, reason: string): Promise<void> {
    const startedMs = performance.now()
    const before = this.#captured.table.state
    const version = pins ? '' : versionOf(source)
    const lookedAt = this.#clock.now()
    // Until a comparison has succeeded, every look begins one: so nobody has to stand on the log.
    this.#mustCompare ??= reason
    pins?.dropAll()
    const connection =
      source.connection &&
      new Database(source.file, { readonly: true, fileMustExist: true, timeout: this.#settings.busyTimeoutMs })
    let begun = false
    try {
      const image = await openImage({ ...source, connection }, this.#settings) // which closes it
      const capturedAt = this.#clock.now()
      // Only of a single pass is it known where it stands in the log.
      if (pins && this.#follow && image.method !== 'single-pass')
        throw cannotFollow(source.file, image.notes.join(' ') || image.method)
      if (image.pageSize !== this.#captured.table.pageSize)
        throw new BackupError('BASE_UNUSABLE', `${source.file} has another page size now.`)
      pins?.pinNext()
      begun = true
      await compareImage(image, this.#captured.table, this.#captured.store, () => {})
      const { logMark: mark } = image
      this.#captured.endStep(before, {
        lookedAt,
        capturedAt,
        how: 'comparison',
        reason: this.#mustCompare,
        ...(mark && { mark }),
      })
      this.#notes = [...image.notes]
      pins?.dropOld()
      this.#reader.goOnFrom(mark, this.#follow ? pins : undefined)
    } catch (error) {
      connection?.close()
      // Half a comparison cannot stay; before it, what waits for a backup is as right as it was.
      if (begun) this.drop(this.#mustCompare)
      throw error
    }
    this.#mustCompare = undefined
    this.#comparedBytes = this.#captured.pendingBytes
    const nowMs = performance.now()
    this.#compared = { version, restUntilMs: nowMs + REST_FACTOR * (nowMs - startedMs) }
  }

  #capturing(pins: LogPins): Capturing {
    const [reader, captured] = [this.#reader, this.#captured]
    return {
      look: () => this.#lookAtLog(pins) === undefined,
      get logBytes() {
        return reader.logBytes
      },
      bytesSince: () => reader.bytesSince(pins, captured.table.pageSize),
    }
  }
}
