import { buffer } from 'node:stream/consumers'
import type { Member } from '../contracts/adapter.ts'
import type { ManifestMember } from '../contracts/backup.ts'
import { BackupError, throwIfAborted, toBackupError } from '../errors.ts'
import { manifestKey, memberKey } from '../layout.ts'
import { fanOut } from '../pipeline/fan-out.ts'
import { outgoing } from '../pipeline/member.ts'
import type { Destination } from '../plan.ts'
import type { Work } from './run.ts'

/** How one destination did. */
export interface DestinationOutcome {
  readonly name: string
  /** Why it does not hold the backup. */
  readonly error?: { readonly code: string; readonly message: string }
}

/** Puts one backup into all destinations, and knows what has been put where. */
export class BackupWriter {
  readonly #work: Work
  readonly #id: string
  readonly #signal: AbortSignal
  readonly #failed = new Map<string, BackupError>()
  readonly #files: string[] = []
  /** Destinations in which another backup has this one's place. */
  readonly #foreign = new Set<string>()

  constructor(work: Work, id: string, without: ReadonlySet<string>, signal: AbortSignal) {
    this.#work = work
    this.#id = id
    this.#signal = signal
    for (const name of without) this.#leaveOut(name, new BackupError('BASE_MISSING', 'It does not hold the chain.'))
    for (const { name, storage } of work.plan.destinations) {
      if (storage.capabilities.readOnly)
        this.#leaveOut(name, new BackupError('STORAGE_READ_ONLY', 'It can only be read.'))
    }
  }

  get #destinations(): Destination[] {
    return this.#work.plan.destinations.filter((destination) => !this.#failed.has(destination.name))
  }

  #leaveOut(name: string, error: BackupError): void {
    this.#failed.set(name, error)
    this.#work.warn(`Destination ${name} is left out of this backup: ${error.message}`, error.code)
  }

  /** A required destination's failure fails the backup; another one is left out from now on. */
  #fail(destination: Destination, thrown: unknown): void {
    throwIfAborted(this.#signal)
    const error = toBackupError(thrown, 'STORAGE_FAILED', `Destination ${destination.name} failed`)
    if (!destination.required) {
      this.#leaveOut(destination.name, error)
      return
    }
    throw new BackupError('DESTINATION_FAILED', `Destination ${destination.name} failed: ${error.message}`, {
      cause: error,
      retryable: error.retryable,
      hint: error.hint,
      details: { destination: destination.name, code: error.code },
    })
  }

  async storeMember(member: Member): Promise<ManifestMember> {
    const { plan } = this.#work
    const out = outgoing(member, plan.compression)
    const key = memberKey(plan.name, this.#id, out.file)
    this.#files.push(out.file)
    const taken = new Map<string, number>()
    const destinations = this.#destinations
    const sinks = destinations.map((destination) => ({
      name: destination.name,
      required: destination.required,
      receive: async (body: Parameters<typeof destination.storage.put>[1]) => {
        try {
          const { bytes } = await destination.storage.put(key, body, { signal: this.#signal })
          taken.set(destination.name, bytes)
        } catch (error) {
          throw new SinkError(destination, error)
        }
      },
    }))
    try {
      const outcomes = await fanOut(out.stored, sinks)
      for (const { error } of outcomes) if (error instanceof SinkError) this.#fail(error.destination, error.cause)
    } catch (error) {
      member.body.destroy()
      if (error instanceof SinkError) this.#fail(error.destination, error.cause)
      throw error
    }
    const facts = out.facts()
    for (const destination of this.#destinations) {
      const bytes = taken.get(destination.name)
      if (bytes !== facts.stored.bytes) this.#fail(destination, sizeMismatch(key, bytes, facts.stored.bytes))
    }
    return facts
  }

  /** Asks every destination for the size of every object, rather than trust what `put` answered. */
  async checkSizes(members: readonly ManifestMember[]): Promise<void> {
    for (const destination of this.#destinations) {
      try {
        for (const member of members) {
          const key = memberKey(this.#work.plan.name, this.#id, member.file)
          const found = await destination.storage.stat(key)
          if (found?.sizeBytes !== member.stored.bytes) throw sizeMismatch(key, found?.sizeBytes, member.stored.bytes)
        }
      } catch (error) {
        this.#fail(destination, error)
      }
    }
  }

  async commit(manifest: Buffer): Promise<void> {
    for (const destination of this.#destinations) {
      try {
        await this.#putManifest(destination, manifest)
      } catch (error) {
        this.#fail(destination, error)
      }
    }
  }

  async #putManifest({ name, storage }: Destination, manifest: Buffer): Promise<void> {
    const key = manifestKey(this.#work.plan.name, this.#id)
    try {
      const { bytes } = await storage.put(key, manifest, { ifAbsent: true, signal: this.#signal })
      if (bytes !== manifest.length) throw sizeMismatch(key, bytes, manifest.length)
      const found = await storage.stat(key)
      if (found?.sizeBytes !== manifest.length) throw sizeMismatch(key, found?.sizeBytes, manifest.length)
    } catch (error) {
      if (error instanceof BackupError && error.code === 'KEY_EXISTS') {
        // Our own, when a put was tried again after it had succeeded; another one's is not ours to remove.
        if (manifest.equals(await buffer(await storage.get(key)))) return
        this.#foreign.add(name)
        throw error
      }
      // What is there is cut short or unsure: it must not stay as a commit.
      await storage.delete(key).catch(() => {})
      throw error
    }
  }

  outcomes(): DestinationOutcome[] {
    return this.#work.plan.destinations.map(({ name }) => {
      const error = this.#failed.get(name)
      return { name, ...(error && { error: { code: error.code, message: error.message } }) }
    })
  }

  /** Manifest first: from then on it is no backup any more. What cannot be removed now, the next prune removes. */
  async removeEverything(): Promise<void> {
    const { plan } = this.#work
    await Promise.all(
      plan.destinations.map(async ({ name, storage }) => {
        if (storage.capabilities.readOnly || this.#foreign.has(name)) return
        try {
          await storage.delete(manifestKey(plan.name, this.#id))
          for (const file of this.#files) await storage.delete(memberKey(plan.name, this.#id, file))
        } catch (error) {
          const reason = error instanceof Error ? error.message : String(error)
          this.#work.warn(`Could not remove what was stored in ${name}; the next prune will: ${reason}`)
        }
      }),
    )
  }
}

class SinkError extends Error {
  readonly destination: Destination
  constructor(destination: Destination, cause: unknown) {
    super(`Destination ${destination.name} failed`, { cause })
    this.destination = destination
  }
}

function sizeMismatch(key: string, found: number | undefined, expected: number): BackupError {
  return new BackupError('STORED_SIZE_MISMATCH', `${key} is stored with ${found ?? 'no'} bytes, ${expected} were sent.`)
}
