import { fail, syntaxError } from './errors.ts'
import type { Options } from './statements.ts'
import type { Tokens } from './tokens.ts'

const FLAGS = {
  BACKUP: ['FORMAT', 'INIT', 'CHECKSUM', 'DIFFERENTIAL', 'COPY_ONLY', 'NORECOVERY', 'COMPRESSION', 'NO_COMPRESSION'],
  RESTORE: ['RECOVERY', 'NORECOVERY', 'REPLACE', 'CHECKSUM'],
}
const VALUES = {
  BACKUP: ['NAME', 'DESCRIPTION', 'STATS', 'MAXTRANSFERSIZE', 'BUFFERCOUNT', 'CREDENTIAL'],
  RESTORE: ['FILE', 'STATS', 'STOPAT', 'STOPATMARK', 'STOPBEFOREMARK', 'CREDENTIAL'],
}

const CONFLICTS: { readonly [option: string]: string } = {
  RECOVERY: 'NORECOVERY',
  NORECOVERY: 'RECOVERY',
  COMPRESSION: 'NO_COMPRESSION',
  NO_COMPRESSION: 'COMPRESSION',
}

/** WITH …, to the end of the statement. Nothing but what SQL Server knows, and nothing twice. */
export function parseOptions(
  tokens: Tokens,
  verb: 'BACKUP' | 'RESTORE',
): { readonly options: Options; readonly moves: ReadonlyMap<string, string> } {
  const options = new Map<string, string | number | true>()
  const moves = new Map<string, string>()
  if (!tokens.takeWords('WITH')) return { options, moves }
  do {
    const name = tokens.word()
    refuseConflict(name, options)
    if (name === 'MOVE' && verb === 'RESTORE') {
      const logicalName = String(tokens.value())
      tokens.expectWords('TO')
      moves.set(logicalName, String(tokens.value()))
    } else if (FLAGS[verb].includes(name)) options.set(name, true)
    else if (name === 'ENCRYPTION' && verb === 'BACKUP') options.set(name, parseEncryption(tokens))
    else if (VALUES[verb].includes(name)) parseValue(tokens, name, options)
    else throw fail(155, `'${name}' is not a recognized ${verb} option.`, 15)
  } while (tokens.takeSymbol(','))
  return { options, moves }
}

function refuseConflict(name: string, options: Options): void {
  const other = options.has(name) ? name : CONFLICTS[name]
  if (other !== undefined && options.has(other))
    throw fail(
      3031,
      `Option '${name}' conflicts with option(s) '${other}'. Remove the conflicting option and reissue the statement.`,
    )
}

function parseValue(tokens: Tokens, name: string, options: Map<string, string | number | true>): void {
  tokens.expectSymbol('=')
  options.set(name, tokens.value())
  if (name.endsWith('MARK') && tokens.takeWords('AFTER')) options.set('AFTER', tokens.value())
}

/** Returns the name of the certificate. */
function parseEncryption(tokens: Tokens): string {
  tokens.expectSymbol('(')
  tokens.expectWords('ALGORITHM')
  tokens.expectSymbol('=')
  const algorithm = tokens.word()
  if (!['AES_128', 'AES_192', 'AES_256', 'TRIPLE_DES_3KEY'].includes(algorithm)) throw syntaxError(algorithm)
  tokens.expectSymbol(',')
  tokens.expectWords('SERVER', 'CERTIFICATE')
  tokens.expectSymbol('=')
  const certificate = tokens.name()
  tokens.expectSymbol(')')
  return certificate
}
