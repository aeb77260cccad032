import { fail, syntaxError } from './errors.ts'

export interface Token {
  readonly type: 'word' | 'name' | 'string' | 'number' | 'variable' | 'symbol'
  /** Without quotes. */
  readonly text: string
  readonly from: number
  readonly to: number
}

/** Tried in this order at every place; the first group that matches is the token. */
const PIECES: readonly (readonly [Token['type'] | 'space', RegExp])[] = [
  ['space', /(?:\s|--[^\n]*|\/\*[\s\S]*?\*\/)+/y],
  ['name', /\[((?:[^\]]|\]\])*)\]/y],
  ['name', /"((?:[^"]|"")*)"/y],
  ['string', /[Nn]?'((?:[^']|'')*)'/y],
  ['number', /\d+(?:\.\d+)?/y],
  ['variable', /@@?[\p{L}_][\p{L}\d_@$#]*/uy],
  ['word', /#{0,2}[\p{L}_][\p{L}\d_@$#]*/uy],
  ['symbol', /[=(),;.*<>]/y],
]

/** Cuts T-SQL into tokens. Names and strings come without their quotes. */
export function tokenize(sql: string): Token[] {
  const tokens: Token[] = []
  let at = 0
  while (at < sql.length) {
    const [type, match] = pieceAt(sql, at)
    const from = at
    at += match[0].length
    if (type === 'space') continue
    const close = match[0].endsWith("'") ? "'" : match[0].at(-1)
    const text = match[1] === undefined ? match[0] : match[1].replaceAll(`${close}${close}`, close ?? '')
    tokens.push({ type, text, from, to: at })
  }
  return tokens
}

function pieceAt(sql: string, at: number): readonly [Token['type'] | 'space', RegExpExecArray] {
  for (const [type, pattern] of PIECES) {
    pattern.lastIndex = at
    const match = pattern.exec(sql)
    if (match) return [type, match]
  }
  const rest = sql.slice(at, at + 20)
  if (/^[Nn]?'/.test(rest))
    throw fail(105, `Unclosed quotation mark after the character string '${rest.slice(1)}'.`, 15)
  throw syntaxError(rest)
}
