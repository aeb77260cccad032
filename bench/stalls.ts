import { closeSync, openSync, readSync } from 'node:fs'
import { createHistogram, monitorEventLoopDelay } from 'node:perf_hooks'

/** How long the event loop stood still, in milliseconds. */
export interface Stalls {
  readonly stallP99Ms: number
  readonly stallMaxMs: number
  /** Without the time in which this thread could have run and had no processor; Linux only. */
  readonly workP99Ms?: number
  readonly workMaxMs?: number
}

const RESOLUTION_MS = 1
/** Our own timer fires each millisecond: what is measured beyond that is the stall. */
const stall = (ns: number): number => Math.max(0, Math.round((ns / 1e6 - RESOLUTION_MS) * 100) / 100)

/** Watches the event loop until the function that it returns is called. */
export function watchStalls(): () => Stalls {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  delay.enable()
  const work = watchWork()
  return () => {
    delay.disable()
    return { stallP99Ms: stall(delay.percentile(99)), stallMaxMs: stall(delay.max), ...work?.() }
  }
}

function watchWork(): (() => Pick<Stalls, 'workP99Ms' | 'workMaxMs'>) | undefined {
  if (process.platform !== 'linux') return undefined
  const file = openSync('/proc/thread-self/schedstat', 'r')
  const text = Buffer.alloc(128)
  /** Nanoseconds that this thread has waited for a processor: the second of three numbers. */
  const waitedNs = (): number =>
    Number(text.toString('latin1', 0, readSync(file, text, 0, text.length, 0)).split(' ')[1])
  const histogram = createHistogram()
  let at = process.hrtime.bigint()
  let waited = waitedNs()
  const timer = setInterval(() => {
    const now = process.hrtime.bigint()
    const waitedNow = waitedNs()
    histogram.record(Math.max(1, Number(now - at) - (waitedNow - waited)))
    at = now
    waited = waitedNow
  }, RESOLUTION_MS)
  return () => {
    clearInterval(timer)
    closeSync(file)
    return { workP99Ms: stall(histogram.percentile(99)), workMaxMs: stall(histogram.max) }
  }
}
