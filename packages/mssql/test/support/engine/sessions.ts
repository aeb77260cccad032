import type { TdsSession } from '../tds/server.ts'
import type { Database } from './database.ts'
import { error, fail, SqlError } from './errors.ts'

/** Somebody who may use a database: a connection, or somebody that a test puts there. */
export interface Seat {
  readonly id: number
  readonly login: string
  readonly program: string
  readonly database: string
  kill(): void
}

export type Permission =
  | 'BACKUP DATABASE'
  | 'BACKUP LOG'
  | 'CREATE ANY DATABASE'
  | 'ALTER ANY DATABASE'
  | 'ADMINISTER BULK OPERATIONS'
  | 'VIEW ANY DEFINITION'
  | 'VIEW SERVER STATE'

export interface LoginAccount {
  readonly password: string
  readonly roles?: readonly ('sysadmin' | 'dbcreator')[]
  readonly permissions?: readonly Permission[]
}

/** Logins, who is in which database, and the locks of sessions. */
export class Sessions {
  readonly accounts = new Map<string, LoginAccount>()
  /** Temporary tables by session, each with its only column and value. */
  readonly tables = new Map<number, Map<string, Buffer>>()
  readonly #seats = new Map<number, Seat>()
  readonly #locks = new Map<string, number>()
  #nextGuest = 1001

  connected(session: TdsSession): void {
    this.#seats.set(session.id, {
      id: session.id,
      login: session.user,
      program: session.application,
      get database() {
        return session.database
      },
      kill: () => session.drop(),
    })
  }

  gone(id: number): void {
    this.#seats.delete(id)
    this.tables.delete(id)
    for (const [resource, holder] of this.#locks) if (holder === id) this.#locks.delete(resource)
  }

  /** Somebody else uses the database. */
  occupy(database: string): { readonly killed: boolean; leave(): void } {
    const id = this.#nextGuest++
    let killed = false
    const kill = (): void => {
      killed = true
      this.gone(id)
    }
    this.#seats.set(id, { id, login: 'guest', program: 'somebody', database, kill })
    return {
      get killed() {
        return killed
      },
      leave: () => this.gone(id),
    }
  }

  /** Who is in the database, other than `except`. */
  in({ name }: Database, except?: number): Seat[] {
    const same = name.toLowerCase()
    return [...this.#seats.values()].filter((seat) => seat.id !== except && seat.database.toLowerCase() === same)
  }

  /** Ends the sessions in the database, other than `except`. */
  killAllIn(database: Database, except: number): void {
    for (const seat of this.in(database, except)) {
      seat.kill()
      this.gone(seat.id)
    }
  }

  /** @throws 924 when another session has the database for itself */
  enter(database: Database, session: number): void {
    if (database.access === 'SINGLE_USER' && this.in(database, session).length > 0)
      throw new SqlError(
        error(924, `Database '${database.name}' is already open and can only have one user at a time.`, 14),
      )
  }

  may(login: string, permission: Permission): boolean {
    const { roles = [], permissions = [] } = this.accounts.get(login.toLowerCase()) ?? {}
    if (roles.includes('sysadmin') || permissions.includes(permission)) return true
    return roles.includes('dbcreator') && ['CREATE ANY DATABASE', 'ALTER ANY DATABASE'].includes(permission)
  }

  is(login: string, role: 'sysadmin' | 'dbcreator'): boolean {
    return this.accounts.get(login.toLowerCase())?.roles?.includes(role) ?? false
  }

  /** @throws 300 and 297 */
  mustViewState(login: string): void {
    if (this.may(login, 'VIEW SERVER STATE')) return
    throw fail(300, "VIEW SERVER STATE permission was denied on object 'server', database 'master'.", 14).followedBy(
      error(297, 'The user does not have permission to perform this action.'),
    )
  }

  /** As sp_getapplock without waiting: 0, or -1 when somebody else has it. */
  lock(resource: string, session: number): number {
    const holder = this.#locks.get(resource)
    if (holder !== undefined && holder !== session) return -1
    this.#locks.set(resource, session)
    return 0
  }

  /** As sp_releaseapplock: 0, or -999 when this session does not hold it. */
  unlock(resource: string, session: number): number {
    if (this.#locks.get(resource) !== session) return -999
    this.#locks.delete(resource)
    return 0
  }

  isFree(resource: string, session: number): boolean {
    const holder = this.#locks.get(resource)
    return holder === undefined || holder === session
  }

  /** The names of all locks that are held. */
  get locks(): string[] {
    return [...this.#locks.keys()]
  }
}
