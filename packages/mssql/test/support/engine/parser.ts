import { error, fail, SqlError, syntaxError } from './errors.ts'
import { parseOptions } from './options.ts'
import type { DatabaseChange, Device, Statement } from './statements.ts'
import { tokenize } from './tokenizer.ts'
import { Tokens } from './tokens.ts'

/** Values of `@variables`. */
export type Variables = ReadonlyMap<string, unknown>

export interface Parsed {
  readonly statement: Statement
  /** As it stands in the batch, without what ends it. */
  readonly text: string
}

/** The statements of a batch. What is not known here is a syntax error, so that nothing passes unseen. */
export function parse(sql: string, variables: Variables = new Map()): Parsed[] {
  const tokens = new Tokens(tokenize(sql), variables)
  const statements: Parsed[] = []
  while (!tokens.ended) {
    if (tokens.takeSymbol(';')) continue
    const { from } = tokens
    const statement = parseStatement(tokens)
    statements.push({ statement, text: sql.slice(from, tokens.to) })
    if (!tokens.ended) tokens.expectSymbol(';')
  }
  return statements
}

function parseStatement(tokens: Tokens): Statement {
  const verb = tokens.word()
  switch (verb) {
    case 'BACKUP':
      return parseBackup(tokens)
    case 'RESTORE':
      return parseRestore(tokens)
    case 'ALTER':
      return parseAlter(tokens)
    case 'DROP': {
      tokens.expectWords('DATABASE')
      const ifExists = tokens.takeWords('IF', 'EXISTS')
      return { type: 'drop', ifExists, database: tokens.name() }
    }
    case 'CREATE':
      tokens.expectWords('DATABASE')
      return { type: 'create', database: tokens.name() }
    case 'USE':
      return { type: 'use', database: tokens.name() }
    case 'DBCC':
      return parseCheck(tokens)
    case 'EXEC':
    case 'EXECUTE':
      return parseDelete(tokens)
    case 'SET':
      return { type: 'set', words: tokens.restOfStatement() }
    default:
      throw syntaxError(verb)
  }
}

function parseBackup(tokens: Tokens): Statement {
  const what = tokens.word()
  if (what !== 'DATABASE' && what !== 'LOG') throw syntaxError(what)
  const database = tokens.nameOrVariable()
  tokens.expectWords('TO')
  const devices = parseDevices(tokens)
  const { options } = parseOptions(tokens, 'BACKUP')
  // A file that is there would be appended to; nobody here wants that, and this engine has not learned it.
  if (!options.has('FORMAT')) throw fail(50_001, 'The fake engine makes backups WITH FORMAT only.')
  return { type: 'backup', what, database, devices, options }
}

function parseRestore(tokens: Tokens): Statement {
  const what = tokens.word()
  if (what === 'HEADERONLY' || what === 'FILELISTONLY' || what === 'VERIFYONLY') {
    tokens.expectWords('FROM')
    const devices = parseDevices(tokens)
    return { type: 'inspect', what, devices, options: parseOptions(tokens, 'RESTORE').options }
  }
  if (what !== 'DATABASE' && what !== 'LOG') throw syntaxError(what)
  const database = tokens.nameOrVariable()
  const devices = tokens.takeWords('FROM') ? parseDevices(tokens) : []
  return { type: 'restore', what, database, devices, ...parseOptions(tokens, 'RESTORE') }
}

function parseDevices(tokens: Tokens): Device[] {
  const devices: Device[] = []
  do {
    const type = tokens.word()
    if (type !== 'DISK' && type !== 'URL') throw syntaxError(type)
    tokens.expectSymbol('=')
    devices.push({ type: type === 'DISK' ? 'disk' : 'url', path: String(tokens.value()) })
  } while (tokens.takeSymbol(','))
  return devices
}

function parseAlter(tokens: Tokens): Statement {
  tokens.expectWords('DATABASE')
  const database = tokens.name()
  return { type: 'alter', database, change: parseChange(tokens) }
}

function parseChange(tokens: Tokens): DatabaseChange {
  if (tokens.takeWords('MODIFY', 'NAME')) {
    tokens.expectSymbol('=')
    return { name: tokens.name() }
  }
  tokens.expectWords('SET')
  const option = tokens.word()
  switch (option) {
    case 'RECOVERY': {
      const model = tokens.word()
      if (model !== 'FULL' && model !== 'SIMPLE' && model !== 'BULK_LOGGED') throw syntaxError(model)
      return { recoveryModel: model }
    }
    case 'ONLINE':
    case 'OFFLINE':
      tokens.takeWords('WITH', 'ROLLBACK', 'IMMEDIATE')
      return { state: option }
    case 'SINGLE_USER':
    case 'MULTI_USER':
    case 'RESTRICTED_USER': {
      const termination = parseTermination(tokens)
      return { access: option, ...(termination && { termination }) }
    }
    default:
      throw syntaxError(option)
  }
}

function parseTermination(tokens: Tokens): 'ROLLBACK' | 'NO_WAIT' | undefined {
  if (!tokens.takeWords('WITH')) return undefined
  if (tokens.takeWords('NO_WAIT')) return 'NO_WAIT'
  tokens.expectWords('ROLLBACK', 'IMMEDIATE')
  return 'ROLLBACK'
}

function parseCheck(tokens: Tokens): Statement {
  tokens.expectWords('CHECKDB')
  tokens.expectSymbol('(')
  const database = tokens.name()
  tokens.expectSymbol(')')
  const options: string[] = []
  if (tokens.takeWords('WITH'))
    do options.push(tokens.word())
    while (tokens.takeSymbol(','))
  const known = ['NO_INFOMSGS', 'ALL_ERRORMSGS', 'PHYSICAL_ONLY', 'TABLOCK', 'DATA_PURITY', 'EXTENDED_LOGICAL_CHECKS']
  const unknown = options.find((option) => !known.includes(option))
  if (unknown) throw fail(155, `'${unknown}' is not a recognized DBCC option.`, 15)
  return { type: 'check', database, options }
}

function parseDelete(tokens: Tokens): Statement {
  const procedure = [tokens.name()]
  while (tokens.takeSymbol('.')) procedure.push(tokens.name())
  const using = procedure.at(-1)
  if (using !== 'xp_delete_file' && using !== 'xp_delete_files')
    throw new SqlError(error(2812, `Could not find stored procedure '${procedure.join('.')}'.`, 16, 62))
  if (using === 'xp_delete_file') {
    tokens.value()
    tokens.expectSymbol(',')
  }
  return { type: 'delete-file', using, path: String(tokens.value()) }
}
