import { fail, syntaxError } from './errors.ts'
import type { Token } from './tokenizer.ts'

/** Reads forward through the tokens of a batch. */
export class Tokens {
  readonly #tokens: readonly Token[]
  readonly #variables: ReadonlyMap<string, unknown>
  #at = 0

  constructor(tokens: readonly Token[], variables: ReadonlyMap<string, unknown>) {
    this.#tokens = tokens
    this.#variables = variables
  }

  get ended(): boolean {
    return this.#at >= this.#tokens.length
  }

  /** Where the next token begins. */
  get from(): number {
    return this.#peek()?.from ?? 0
  }

  /** Where the last token ended. */
  get to(): number {
    return this.#tokens[this.#at - 1]?.to ?? 0
  }

  /** A keyword, in upper case. */
  word(): string {
    const token = this.#next()
    if (token.type !== 'word') throw syntaxError(token.text)
    return token.text.toUpperCase()
  }

  /** An identifier, quoted or not. */
  name(): string {
    const token = this.#next()
    if (token.type !== 'word' && token.type !== 'name') throw syntaxError(token.text)
    if (token.text.length > 128)
      throw fail(
        103,
        `The identifier that starts with '${token.text.slice(0, 128)}' is too long. Maximum length is 128.`,
      )
    return token.text
  }

  nameOrVariable(): string {
    return this.#peek()?.type === 'variable' ? String(this.value()) : this.name()
  }

  /** A literal, or what a variable holds. */
  value(): string | number {
    const token = this.#next()
    if (token.type === 'string') return token.text
    if (token.type === 'number') return Number(token.text)
    if (token.type !== 'variable') throw syntaxError(token.text)
    const value = this.#variables.get(token.text.toLowerCase())
    if (value === undefined || value === null) throw fail(137, `Must declare the scalar variable "${token.text}".`, 15)
    return typeof value === 'number' ? value : String(value)
  }

  takeSymbol(symbol: string): boolean {
    const token = this.#peek()
    const found = token?.type === 'symbol' && token.text === symbol
    if (found) this.#at++
    return found
  }

  expectSymbol(symbol: string): void {
    if (!this.takeSymbol(symbol)) throw syntaxError(this.#peek()?.text ?? 'end of batch')
  }

  /** All of these keywords, or none. */
  takeWords(...words: readonly string[]): boolean {
    const found = words.every((word, index) => {
      const token = this.#tokens[this.#at + index]
      return token?.type === 'word' && token.text.toUpperCase() === word
    })
    if (found) this.#at += words.length
    return found
  }

  expectWords(...words: readonly string[]): void {
    if (!this.takeWords(...words)) throw syntaxError(this.#peek()?.text ?? 'end of batch')
  }

  restOfStatement(): string[] {
    const words: string[] = []
    while (!this.ended && !this.#isSymbol(';')) words.push(this.#next().text)
    return words
  }

  #isSymbol(symbol: string): boolean {
    const token = this.#peek()
    return token?.type === 'symbol' && token.text === symbol
  }

  #peek(): Token | undefined {
    return this.#tokens[this.#at]
  }

  #next(): Token {
    const token = this.#tokens[this.#at++]
    if (!token) throw syntaxError('end of batch')
    return token
  }
}
