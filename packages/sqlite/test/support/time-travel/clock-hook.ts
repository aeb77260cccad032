// Loaded into the app and into the library's children: a machine's clock that a test can step.
import { readFileSync } from 'node:fs'

/** Holds by how many milliseconds the clock is wrong; replaced at one stroke. */
const file = process.env.CLOCK_FILE as string
const Real = Date
let offsetMs = 0

function now(): number {
  try {
    offsetMs = Number(readFileSync(file, 'utf8'))
  } catch {} // the test has ended, and this process is about to
  return Real.now() + offsetMs
}

globalThis.Date = new Proxy(Real, {
  construct: (target, parts, caller) => Reflect.construct(target, parts.length === 0 ? [now()] : parts, caller),
  get: (target, name) => (name === 'now' ? now : Reflect.get(target, name)),
})
