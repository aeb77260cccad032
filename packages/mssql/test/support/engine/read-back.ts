import { fail } from './errors.ts'
import type { Execution } from './execution.ts'

const TABLE = String.raw`(?<table>#\w+)`
const COLUMN = String.raw`(?:\w+\.)?(?<column>\w+)`
const LOAD = new RegExp(
  String.raw`^SELECT (?:\w+\.)?BulkColumn(?: AS (?<column>\w+))? INTO ${TABLE} FROM OPENROWSET\s?\(BULK N'(?<path>(?:[^']|'')*)', SINGLE_BLOB\) AS \w+;?$`,
  'i',
)
const LENGTH = new RegExp(
  String.raw`^SELECT CAST\(DATALENGTH\(${COLUMN}\) AS varchar\(20\)\) AS (?<alias>\w+) FROM ${TABLE}(?: AS \w+)?;?$`,
  'i',
)
const PIECE = new RegExp(
  String.raw`^SELECT SUBSTRING\(${COLUMN}, (?<from>@\w+), (?<count>@\w+)\) AS (?<alias>\w+) FROM ${TABLE}(?: AS \w+)?;?$`,
  'i',
)
const UNLOAD = new RegExp(`^DROP TABLE (?<optional>IF EXISTS )?${TABLE};?$`, 'i')

/** Files read into temporary tables, and out of these in pieces. Undefined: the text is none of these statements. */
export function readBackFor(text: string, isQuery: boolean): ((run: Execution) => void) | undefined {
  for (const [pattern, answer] of [
    [LOAD, load],
    [LENGTH, length],
    [PIECE, piece],
    [UNLOAD, unload],
  ] as const) {
    const { groups } = pattern.exec(text) ?? {}
    if (groups) return (run) => answer(groups, run, isQuery)
  }
  return undefined
}

type Groups = { readonly [name: string]: string | undefined }

function load({ table = '', path = '' }: Groups, run: Execution, isQuery: boolean): void {
  const { engine, session } = run
  if (!engine.sessions.may(session.user, 'ADMINISTER BULK OPERATIONS'))
    throw fail(4834, 'You do not have permission to use the bulk load statement.')
  const name = path.replaceAll("''", "'")
  const content = engine.disk.readFile(name)
  if (!content)
    throw fail(4860, `Cannot bulk load. The file "${name}" does not exist or you don't have file access rights.`)
  // A table that a query through sp_executesql makes ends with that query.
  if (!isQuery) tablesOf(run).set(table.toLowerCase(), content)
  run.reply.done(1)
}

function length({ table = '', alias = '' }: Groups, run: Execution): void {
  run.reply.rows([{ name: alias, type: 'varchar' }], [[String(contentOf(table, run).length)]])
}

function piece({ table = '', alias = '', from = '', count = '' }: Groups, run: Execution): void {
  const content = contentOf(table, run)
  const [start, size] = [from, count].map((name) => Number(run.variables.get(name.toLowerCase()) ?? Number.NaN))
  if (start === undefined || size === undefined || !(start >= 1 && size >= 0))
    throw fail(537, 'Invalid length parameter passed to the LEFT or SUBSTRING function.')
  run.reply.rows([{ name: alias, type: 'varbinary(max)' }], [[content.subarray(start - 1, start - 1 + size)]])
}

function unload({ table = '', optional }: Groups, run: Execution): void {
  if (!tablesOf(run).delete(table.toLowerCase()) && !optional)
    throw fail(3701, `Cannot drop the table '${table}', because it does not exist or you do not have permission.`, 11)
  run.reply.done()
}

function contentOf(table: string, run: Execution): Buffer {
  const content = tablesOf(run).get(table.toLowerCase())
  if (!content) throw fail(208, `Invalid object name '${table}'.`)
  return content
}

function tablesOf({ engine, session }: Execution): Map<string, Buffer> {
  const { tables } = engine.sessions
  const made = tables.get(session.id) ?? new Map<string, Buffer>()
  tables.set(session.id, made)
  return made
}
