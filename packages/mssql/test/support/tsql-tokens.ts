/** One token of Transact-SQL, as the server's lexer would see it. */
export interface Token {
  readonly type: 'word' | 'name' | 'text' | 'number' | 'variable' | 'sign' | 'comment'
  /** Names and texts without their quotes, doubled quotes made single. */
  readonly value: string
}

type Rule = readonly [RegExp, (found: string) => Token | undefined]

/** In the order in which the language reference lets them apply. Texts drop a backslash with the line break after it. */
const RULES: readonly Rule[] = [
  [/\s+/uy, () => undefined],
  [/--[^\n]*/uy, (value) => ({ type: 'comment', value })],
  [/\/\*.*/suy, (value) => ({ type: 'comment', value })],
  [/\[(?:[^\]]|\]\])*\](?!\])/uy, (found) => ({ type: 'name', value: inner(found, ']') })],
  [/"(?:[^"]|"")*"(?!")/uy, (found) => ({ type: 'name', value: inner(found, '"') })],
  [/N?'(?:[^']|'')*'(?!')/iuy, (found) => ({ type: 'text', value: inner(found, "'").replace(/\\\r?\n/g, '') })],
  [/@[\p{L}\p{N}_@#$]*/uy, (value) => ({ type: 'variable', value })],
  [/[0-9][0-9.]*/uy, (value) => ({ type: 'number', value })],
  [/[\p{L}_#][\p{L}\p{N}_@#$]*/uy, (found) => ({ type: 'word', value: found.toUpperCase() })],
  [/[-+*/%<>=!(),.;]/uy, (value) => ({ type: 'sign', value })],
]

/**
 * Splits a statement by the rules of the language, written apart from what builds the statements. Throws on a name or
 * text that does not end, and on anything else that is not in the language.
 */
export function tokens(sql: string): Token[] {
  const found: Token[] = []
  for (let at = 0; at < sql.length; ) {
    const before = at
    for (const [pattern, toToken] of RULES) {
      pattern.lastIndex = at
      const match = pattern.exec(sql)?.[0]
      if (match === undefined) continue
      const token = toToken(match)
      if (token) found.push(token)
      at += match.length
      break
    }
    if (at === before) throw new Error(`no token at ${at}: ${sql.slice(at, at + 20)}`)
  }
  return found
}

/** The skeleton of a statement: every name as `[]`, every text as `''`. */
export const skeleton = (sql: string): string =>
  tokens(sql)
    .map(({ type, value }) => (type === 'name' ? '[]' : type === 'text' ? "''" : value))
    .join(' ')

function inner(found: string, quote: string): string {
  const opening = found.search(/['"[]/)
  return found.slice(opening + 1, -1).replaceAll(quote + quote, quote)
}
