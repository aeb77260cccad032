import { setTimeout as sleep } from 'node:timers/promises'
import type { Reply } from '../tds/reply.ts'
import type { TdsSession } from '../tds/server.ts'
import type { Engine } from './engine.ts'
import { info, SqlError } from './errors.ts'
import type { Options } from './statements.ts'

/** One statement on its way. */
export interface Execution {
  readonly engine: Engine
  readonly session: TdsSession
  /** Of this statement alone, with its white space made one. */
  readonly text: string
  /** By name, with `@`, in lower case. */
  readonly variables: ReadonlyMap<string, unknown>
  readonly reply: Reply
  readonly signal: AbortSignal
  drop(): void
}

/** Does as if a BACKUP or RESTORE took its time: percent by percent, as STATS says. Ends early when cancelled. */
export async function takeTime(run: Execution, options: Options): Promise<void> {
  const { engine, reply, signal, text } = run
  const stats = Number(options.get('STATS') ?? 0)
  const step = stats || 10
  let halfway = false
  for (let percent = step; percent <= 100; percent += step) {
    if (engine.stepMs > 0) await sleep(engine.stepMs, undefined, { signal }).catch(() => {})
    if (percent >= 50 && !halfway) {
      halfway = true
      await engine.faults.strike('middle', text, run)
    }
    if (signal.aborted) throw new SqlError()
    if (stats) reply.say(info(3211, `${percent} percent processed.`))
  }
}
