import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** A user that owns nothing. */
export const NOBODY = 65_534

/** Why no process can be started as {@link NOBODY}; `undefined` when one can. */
export const whyNotNobody: string | undefined = tryNobody()

function tryNobody(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root can be another user'
  const readThisFile = `require('node:fs').readFileSync(${JSON.stringify(fileURLToPath(import.meta.url))})`
  // A clone below /root is closed to everybody else, and so is the Node.js in it.
  const { status } = spawnSync(process.execPath, ['-e', readThisFile], { uid: NOBODY, gid: NOBODY, stdio: 'ignore' })
  return status === 0 ? undefined : 'another user may not read this clone, or may not run its Node.js'
}
