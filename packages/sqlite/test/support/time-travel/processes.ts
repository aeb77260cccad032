import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { expect } from 'vitest'
import { kill, membersOf, startScript } from '../processes.ts'
import type { AppActions, AppOrders, AppReport } from './following-app.ts'
import type { HistoryWriterOrders, HistoryWriterReport } from './history-writer.ts'

/** Takes care that a process ends with the test. */
export interface Tracker {
  track(child: ChildProcess): ChildProcess
  atEnd(work: () => unknown): void
}

/** Rejects when a process ends; whoever waits for something of it need not wait for ever. */
function refuseExit(child: ChildProcess, what: string): Promise<never> {
  const ended = once(child, 'exit').then(([code, signal]) => {
    throw new Error(`${what} ended: ${signal ?? code}`)
  })
  ended.catch(() => {}) // thrown where it is awaited
  return ended
}

/** The app of a test, in a process group of its own with all of its children. */
export class FollowingApp {
  readonly #child: ChildProcess
  readonly #ended: Promise<never>
  #calls = 0

  private constructor(child: ChildProcess) {
    this.#child = child
    this.#ended = refuseExit(child, 'The app')
  }

  /** `clock`: the file with the error of its clock in milliseconds. */
  static async start(orders: AppOrders, clock: string, tracker: Tracker): Promise<FollowingApp> {
    const env = { CLOCK_FILE: clock }
    const child = tracker.track(startScript('time-travel/following-app.ts', { detached: true, env }))
    const app = new FollowingApp(child)
    tracker.atEnd(() => killGroup(child.pid as number))
    await app.ask('start', orders)
    return app
  }

  get pid(): number {
    return this.#child.pid as number
  }

  async ask<A extends keyof AppActions>(
    action: A,
    ...input: Parameters<AppActions[A]>
  ): Promise<Awaited<ReturnType<AppActions[A]>>> {
    const child = this.#child
    const id = ++this.#calls
    const answered = new Promise<Awaited<ReturnType<AppActions[A]>>>((resolve, reject) => {
      const hear = (answer: { id: number; output: never; error?: { code?: string; message: string } }): void => {
        if (answer.id !== id) return
        child.off('message', hear)
        if (answer.error) reject(Object.assign(new Error(answer.error.message), { code: answer.error.code }))
        else resolve(answer.output)
      }
      child.on('message', hear)
    })
    child.send({ id, action, input: input[0] })
    return await Promise.race([answered, this.#ended])
  }

  /** Process id of the child that follows the log, as soon as there is one. */
  async followerPid(): Promise<number> {
    const running = async (): Promise<number> => (await this.ask('children', 'follow')).length
    await expect.poll(running, { interval: 20 }).toBe(1)
    return (await this.ask('children', 'follow'))[0] as number
  }

  /** Ends it in order. */
  async stop(): Promise<AppReport> {
    const report = await this.ask('stop')
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'exit')
    await this.#nothingLeft()
    return report
  }

  /** SIGKILL of the app alone: its children have to notice by themselves. */
  async kill(): Promise<void> {
    await kill(this.#child)
    await this.#nothingLeft()
  }

  async #nothingLeft(): Promise<void> {
    await expect.poll(() => membersOf(this.pid), { interval: 20 }).toEqual([])
  }
}

function killGroup(leader: number): void {
  try {
    process.kill(-leader, 'SIGKILL')
  } catch {} // has ended
}

/** A writer in a process of its own. */
export class OtherWriter {
  readonly #child: ChildProcess
  readonly #ended: Promise<never>

  private constructor(child: ChildProcess) {
    this.#child = child
    this.#ended = refuseExit(child, 'A writer')
  }

  /** Resolves when it has written once. */
  static async start(orders: HistoryWriterOrders, tracker: Tracker): Promise<OtherWriter> {
    const child = tracker.track(startScript('time-travel/history-writer.ts'))
    const writer = new OtherWriter(child)
    child.send(orders)
    await Promise.race([once(child, 'message'), writer.#ended])
    return writer
  }

  /** Lets it write at full speed for so many bursts. */
  hurry(bursts: number): void {
    this.#child.send({ hurry: bursts })
  }

  async stop(): Promise<HistoryWriterReport> {
    const answered = once(this.#child, 'message') as Promise<[{ report: HistoryWriterReport }]>
    this.#child.send('stop')
    const [{ report }] = await Promise.race([answered, this.#ended])
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'exit')
    return report
  }

  kill(): Promise<void> {
    return kill(this.#child)
  }

  /** SIGKILL in the middle of a transaction whose pages are in the log already. */
  async killInside(): Promise<void> {
    const hanging = once(this.#child, 'message')
    this.#child.send('hang')
    await Promise.race([hanging, this.#ended])
    await kill(this.#child)
  }
}
