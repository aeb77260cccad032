import { setTimeout as sleep } from 'node:timers/promises'
import { getContainerRuntimeClient } from 'testcontainers'

/** An engine on this machine answers in less than one second. */
const DISCOVERY_MS = 10_000

/** Why containers cannot be run; `undefined` when an engine answers, wherever testcontainers finds one. */
export async function whyNoContainers(): Promise<string | undefined> {
  const over = new AbortController()
  const late = sleep(DISCOVERY_MS, `no container engine has answered for ${DISCOVERY_MS / 1000} s`, {
    signal: over.signal,
  })
  late.catch(() => {}) // what was awaited was the other one
  const found = getContainerRuntimeClient().then(
    () => undefined,
    (error: Error) => `there is no container engine: ${error.message}`,
  )
  return Promise.race([found, late]).finally(() => over.abort())
}
