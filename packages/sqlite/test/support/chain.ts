import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import type {
  BackupAdapter,
  BackupBase,
  BackupFacts,
  BackupRequest,
  LogSource,
  Manifest,
  Member,
  OpenBackup,
} from '@taskflow-backup/core'
import { expect } from 'vitest'
import { commitOf } from '../../src/position.ts'
import { applyChanges, decodeChanges } from './changes.ts'
import type { Place } from './place.ts'

/** Backups of one chain, kept in memory, made by the adapter alone: what core would do with them. */
export class Chain {
  readonly name: string
  readonly #place: Place
  readonly #adapter: BackupAdapter
  readonly #backups: OpenBackup[] = []
  /** The database as the backups tell it. */
  bytes: Buffer = Buffer.alloc(0)

  constructor(place: Place, adapter: BackupAdapter, name: string) {
    this.#place = place
    this.#adapter = adapter
    this.name = name
  }

  get manifests(): Manifest[] {
    return this.#backups.map(({ manifest }) => manifest)
  }

  get base(): BackupBase {
    const [full, ...logs] = this.#backups as [OpenBackup, ...OpenBackup[]]
    const newest = logs.at(-1)
    return {
      full,
      previous: newest ?? full,
      ...(newest && { newestLog: newest.manifest }),
      logs: async () => logs,
    }
  }

  async full(): Promise<Manifest> {
    const request = this.#request('full')
    return this.#take(request, this.#adapter.backup(request, this.#place.context()))
  }

  async log(): Promise<Manifest> {
    const request = this.#request('log')
    return this.#take(request, this.#adapter.backup(request, this.#place.context()))
  }

  /** A log from a source that follows, committed; `until` is the full of a later chain. */
  async logOf(source: LogSource, until?: Manifest): Promise<Manifest> {
    const request = this.#request('log')
    const manifest = await this.#take(request, source.backup(request, this.#place.context(), until))
    await source.committed(manifest)
    return manifest
  }

  #request(kind: 'full' | 'log'): BackupRequest {
    return {
      kind,
      id: `${this.name}/${this.#backups.length}`,
      startedAt: new Date(),
      fileStem: 'tasks',
      compression: { algorithm: 'none', level: 0 },
      ...(kind === 'log' && { base: this.base }),
    }
  }

  async #take(
    { id, kind, base }: BackupRequest,
    members: AsyncGenerator<Member, BackupFacts, void>,
  ): Promise<Manifest> {
    const contents = new Map<string, Buffer>()
    let step = await members.next()
    for (; !step.done; step = await members.next()) contents.set(step.value.name, await buffer(step.value.body))
    const facts = step.value
    const manifest = {
      ...facts,
      id,
      kind,
      consistentAt: facts.consistentAt.toISOString(),
      members: [...contents].map(([name, { length }]) => ({ name, plain: { bytes: length } })),
    } as unknown as Manifest
    if (kind === 'full') this.bytes = contents.get('tasks.db') as Buffer
    else await this.#apply(manifest, contents.get('tasks.changes') as Buffer, base as BackupBase)
    const open = async (name: string): Promise<Readable> => Readable.from([contents.get(name) as Buffer])
    this.#backups.push({ manifest, destination: 'memory', open, openStored: open })
    return manifest
  }

  /** Each log begins where the one before ends, in numbers, states and times. */
  async #apply(manifest: Manifest, changes: Buffer, { full, newestLog }: BackupBase): Promise<void> {
    const previous = newestLog ?? full.manifest
    const decoded = await decodeChanges(changes)
    const { steps } = decoded.index
    expect(manifest.position.begin).toBe(previous.position.end)
    let { state, commit } = { state: previous.source.details?.state, commit: commitOf(previous.position.end) }
    for (const { before, after, firstCommit, lastCommit } of steps) {
      expect({ before, firstCommit }).toEqual({ before: state, firstCommit: commit + 1 })
      ;[state, commit] = [after, lastCommit]
    }
    expect(steps[0]?.lookedAt).toBeGreaterThanOrEqual(Date.parse(previous.consistentAt))
    expect(manifest.position.end).toMatch(new RegExp(`^${this.name}/0*${commit}$`))
    expect(manifest.source.details).toMatchObject({ state, lastCommit: commit, steps: steps.length })
    this.bytes = applyChanges(this.bytes, decoded)
  }
}
