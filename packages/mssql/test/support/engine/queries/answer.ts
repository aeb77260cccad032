import type { ColumnType, Value } from '../../tds/types.ts'
import type { Database } from '../database.ts'
import { fail } from '../errors.ts'
import type { Execution } from '../execution.ts'
import { normalised } from '../text.ts'

/** Answers to the texts of `src/statements/queries`, each recognised by its whole text. */
export interface Query<Row> {
  readonly columns: { readonly [column in keyof Row]-?: ColumnType }
  rows(run: Execution, ask: Ask): readonly Row[]
}

/** The value of a parameter. */
export type Ask = (name: string) => Value

const ANSWERS = new Map<string, Query<{ [column: string]: Value }>>()

/** How one of these queries is answered. Undefined: the text is none of them. */
export function queryFor(text: string): ((run: Execution) => void) | undefined {
  const query = ANSWERS.get(normalised(text))
  if (!query) return undefined
  const columns = Object.entries(query.columns).map(([name, type]) => ({ name, type }))
  return (run) => {
    const ask: Ask = (name) => {
      const value = run.variables.get(`@${name}`.toLowerCase())
      if (value === undefined) throw fail(137, `Must declare the scalar variable "@${name}".`, 15)
      return value as Value
    }
    const rows = query.rows(run, ask).map((row) => columns.map(({ name }) => row[name] ?? null))
    run.reply.rows(columns, rows)
  }
}

export function answer<Row>(text: string, query: Query<Row>): void {
  ANSWERS.set(normalised(text), query as unknown as Query<{ [column: string]: Value }>)
}

export const found = ({ engine }: Execution, name: Value): Database[] => {
  const database = engine.databases.find(String(name))
  return database ? [database] : []
}

/** sys.master_files shows nothing to others. */
export const seesFiles = ({ engine, session }: Execution): boolean =>
  (['VIEW ANY DEFINITION', 'ALTER ANY DATABASE', 'CREATE ANY DATABASE'] as const).some((permission) =>
    engine.sessions.may(session.user, permission),
  )
