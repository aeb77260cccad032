/** The server's clock. Runs with the real one, but can be set ahead, and has a time zone of its own. */
export class ServerClock {
  /** East of Greenwich is positive. Changes when daylight saving begins and ends. */
  utcOffsetMinutes: number
  #aheadMs = 0

  constructor(utcOffsetMinutes: number) {
    this.utcOffsetMinutes = utcOffsetMinutes
  }

  advance(ms: number): void {
    this.#aheadMs += ms
  }

  /** Milliseconds since 1970, UTC. */
  get utcMs(): number {
    return Date.now() + this.#aheadMs
  }

  /** What the clock on the wall shows, in ms, to the 1/300 s that `datetime` has. The log and STOPAT count in these. */
  get localMs(): number {
    return toDatetime(this.utcMs + this.utcOffsetMinutes * 60_000)
  }

  /** As `SYSUTCDATETIME()` converts to text. */
  get utcText(): string {
    return `${isoText(this.utcMs)}0000`
  }
}

/** Rounds to what `datetime` can hold: ms that end in 0, 3 or 7. */
export const toDatetime = (ms: number): number => Math.round(Math.round(ms * 0.3) / 0.3)

/** `2026-01-31T12:00:00.123` */
export const isoText = (ms: number): string => new Date(ms).toISOString().slice(0, -1)

/** The same to the second, as msdb and backup files have it. */
export const secondText = (ms: number): string => isoText(ms).slice(0, 19)
