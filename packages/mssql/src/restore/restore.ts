import {
  type AdapterContext,
  BackupError,
  type RestoreRequest,
  type StagedRestore,
  throwIfAborted,
  type UndoRecord,
} from '@taskflow-backup/core'
import { ENGINE } from '../engine-name.ts'
import type { CheckedOptions } from '../options.ts'
import { readServer } from '../server-facts.ts'
import { checkRestored } from './check.ts'
import { dropDatabase } from './databases.ts'
import { placeNewFiles } from './files.ts'
import { clearLeftovers } from './leftovers.ts'
import { stagingName } from './names.ts'
import { replaceDatabase } from './replace.ts'
import { readSteps, rollForward, type Step } from './roll.ts'
import { planStops } from './stops.ts'
import { swapDatabases } from './swap.ts'
import { assertRestorable, checkTarget, findDatabase, type RestorePlace, readPlace } from './target.ts'
import { RestoreWork } from './work.ts'

/** Restores into a new database beside the target, on the same server. */
export async function stageRestore(
  options: CheckedOptions,
  request: RestoreRequest,
  ctx: AdapterContext,
): Promise<StagedRestore> {
  throwIfAborted(ctx.signal)
  const steps = readSteps(request.backups)
  const wanted = readPlace(options, request)
  planStops(steps, wanted.stop) // whether they lead there at all
  const work = await RestoreWork.begin(options, ctx)
  let staging: string | undefined
  try {
    const session = await work.session()
    const server = await readServer(session)
    const place = await checkTarget(session, wanted, request)
    for (const { backup, details } of steps)
      await assertRestorable(session, server, { engineVersion: backup.manifest.source.engineVersion, details })
    // What a killed restore left goes with the next one.
    await clearLeftovers(session, options, ctx)
    const target = place.name ?? options.database
    staging = stagingName(target, work.id)
    const files = placeNewFiles(options, server, { target, workId: work.id })
    const { stop } = place
    await rollForward(options, work, { database: staging, steps, place: files, ...(stop && { stop }) }, ctx)
    return new Staged({ options, work, staging, place, steps, request })
  } catch (error) {
    if (staging !== undefined)
      await dropDatabase(work, staging).catch((problem: Error) => {
        ctx.onWarning(`${staging} could not be removed: ${problem.message}`)
      })
    await work.end()
    throw error
  }
}

interface StagedFacts {
  readonly options: CheckedOptions
  readonly work: RestoreWork
  readonly staging: string
  readonly place: RestorePlace
  readonly steps: readonly Step[]
  readonly request: RestoreRequest
}

class Staged implements StagedRestore {
  readonly #facts: StagedFacts
  /** The live database is being overwritten: until that is done, this one is the only whole one. */
  #needed = false
  #ended = false

  constructor(facts: StagedFacts) {
    this.#facts = facts
  }

  get location(): string {
    return this.#facts.staging
  }

  async check({ signal }: AdapterContext) {
    const { options, work, staging } = this.#facts
    return checkRestored(await work.session(), staging, options, signal)
  }

  async promote(ctx: AdapterContext): Promise<UndoRecord> {
    const { options, work, staging, place, steps, request } = this.#facts
    const { name, overwrite, stop } = place
    if (name === undefined) throw new BackupError('CONTRACT_BROKEN', 'A scratch restore cannot be promoted.')
    const { evenIfInUse } = request
    const live = options.restore.method === 'replace' && (await findDatabase(await work.session(), name))
    if (!live) {
      const orders = { incoming: staging, target: name, overwrite, evenIfInUse, isOurs: true }
      return { engine: ENGINE, ...(await swapDatabases(work, orders, ctx)) }
    }
    const onBegin = (): void => {
      this.#needed = true
    }
    const orders = { live, staging, steps, ...(stop && { stop }), overwrite, evenIfInUse, onBegin }
    const replaced = await replaceDatabase(options, work, orders, ctx)
    this.#needed = false
    return { engine: ENGINE, ...replaced }
  }

  async discard(): Promise<void> {
    const { work, staging } = this.#facts
    if (this.#ended) return
    try {
      if (!this.#needed) await dropDatabase(work, staging)
      this.#ended = true
    } finally {
      // Without the lock of the work, the next restore or prune drops it.
      await work.end()
    }
  }
}
