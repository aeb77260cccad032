import type { ServerMessage } from '../tds/tokens.ts'

/** What a statement of the fake engine fails with: the cause first, then what follows from it. */
export class SqlError extends Error {
  readonly messages: readonly ServerMessage[]

  constructor(...messages: readonly ServerMessage[]) {
    super(messages.map(({ number, message }) => `${number}: ${message}`).join(' '))
    this.messages = messages
  }

  /** With errors that follow from it, such as 3013. */
  followedBy(...messages: readonly ServerMessage[]): SqlError {
    return new SqlError(...this.messages, ...messages)
  }
}

export const error = (number: number, message: string, severity = 16, state = 1): ServerMessage => ({
  number,
  message,
  class: severity,
  state,
})

export const info = (number: number, message: string): ServerMessage => ({ number, message, class: 0 })

export const fail = (number: number, message: string, severity = 16): SqlError =>
  new SqlError(error(number, message, severity))

/** `BACKUP DATABASE is terminating abnormally.` */
export const terminating = (what: string): ServerMessage => error(3013, `${what} is terminating abnormally.`)

/** Runs `work`; what it fails with is followed by `messages`, as the server does. */
export async function following<T>(messages: readonly ServerMessage[], work: () => T | Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (thrown) {
    throw thrown instanceof SqlError ? thrown.followedBy(...messages) : thrown
  }
}

export const OS_ERRORS = {
  notFound: '2(The system cannot find the file specified.)',
  noFolder: '3(The system cannot find the path specified.)',
  denied: '5(Access is denied.)',
  ended: '38(Reached the end of the file.)',
  unsupported: '50(The request is not supported.)',
  full: '112(There is not enough space on the disk.)',
} as const

export const syntaxError = (near: string): SqlError => fail(102, `Incorrect syntax near '${near}'.`, 15)

export const unknownDatabase = (name: string): SqlError =>
  fail(911, `Database '${name}' does not exist. Make sure that the name is entered correctly.`)

export const isBeingRestored = (name: string): SqlError =>
  fail(927, `Database '${name}' cannot be opened. It is in the middle of a restore.`, 14)

export const cannotOpen = (path: string, reason: string): SqlError =>
  fail(3201, `Cannot open backup device '${path}'. Operating system error ${reason}.`)

export const inUse = (): SqlError =>
  fail(3101, 'Exclusive access could not be obtained because the database is in use.')
