// What the tour shows: numbered steps, and on a terminal a progress bar that is redrawn in place.
import type { BackupEvent } from '@taskflow-backup/core'
import { formatBytes, NO_BREAK, wrap } from './format.ts'

const INDENT = '   '
const REDRAW_MS = 40
const LABEL_WIDTH = 22

export interface Screen {
  heading(text: string): void
  /** Begins the next step. */
  step(title: string, why: string): void
  /** One result of the running step. */
  tell(text: string): void
  /** A result that is worth a look: green for what went well, red for what was found wrong. */
  mark(sign: 'good' | 'bad', text: string): void
  /** Lines of a table whose first column has seven characters. */
  table(lines: readonly string[]): void
  /** Draws how far something has come; on anything but a terminal it draws nothing. */
  progress(label: string, done: number, total: number, unit?: (value: number) => string): void
  /** An `onEvent` that draws the progress of a verb, and tells its warnings. */
  readonly onEvent: (event: BackupEvent) => void
  /** Removes the progress bar. */
  clear(): void
}

export function createScreen(stream: NodeJS.WriteStream, environment: NodeJS.ProcessEnv): Screen {
  const live = stream.isTTY === true && environment.TERM !== 'dumb'
  const colours = live && !environment.NO_COLOR
  const paint = (code: number, text: string): string => (colours ? `\u001b[${code}m${text}\u001b[0m` : text)
  const width = (): number => Math.max(40, Math.min(stream.columns || 100, 120))
  let steps = 0
  let drawn = false
  let drawnAtMs = Number.NEGATIVE_INFINITY

  const clear = (): void => {
    if (drawn) stream.write('\r\u001b[2K')
    drawn = false
    drawnAtMs = Number.NEGATIVE_INFINITY
  }
  const write = (line: string): void => {
    clear()
    stream.write(`${line.replaceAll(NO_BREAK, ' ')}\n`)
  }
  const wrapped = (first: string, text: string, colour?: number): void => {
    for (const [index, line] of wrap(text, width() - INDENT.length - first.length).entries()) {
      const begin = index === 0 ? first : ' '.repeat(first.length)
      write(INDENT + (colour === undefined ? begin + line : paint(colour, begin + line)))
    }
  }
  const progress: Screen['progress'] = (label, done, total, unit = formatBytes) => {
    if (!live || total <= 0) return
    const nowMs = performance.now()
    if (nowMs - drawnAtMs < REDRAW_MS && done < total) return
    const share = Math.min(1, done / total)
    const figures = ` ${String(Math.floor(share * 100)).padStart(3)} %  ${unit(done)} of ${unit(total)}`
    const room = width() - INDENT.length - LABEL_WIDTH - 2 - figures.length - 1
    // On a narrow terminal the figures are worth more than the bar.
    const bar = room < 5 ? '' : `[${'#'.repeat(Math.round(share * room)).padEnd(room, '.')}]`
    const line = `${INDENT}${bar === '' ? label : label.slice(0, LABEL_WIDTH - 1).padEnd(LABEL_WIDTH)}${bar}${figures}`
    const shown = line.slice(0, (stream.columns || 100) - 1).replaceAll(NO_BREAK, ' ')
    stream.write(`\r\u001b[2K${paint(36, shown)}`)
    drawn = true
    drawnAtMs = nowMs
  }

  return {
    heading: (text) => write(paint(1, text)),
    step(title, why) {
      write('')
      write(paint(1, `${String(++steps).padStart(2)} ${title}`))
      wrapped('', `Why: ${why}`, 2)
    },
    tell: (text) => wrapped('', text),
    mark: (sign, text) => wrapped(sign === 'good' ? 'ok     ' : 'FOUND  ', text, sign === 'good' ? 32 : 31),
    table(lines) {
      for (const line of lines) wrapped(line.slice(0, 7), line.slice(7), 2)
    },
    progress,
    onEvent(event) {
      if (event.type === 'progress') progress(event.phase, event.bytes, event.totalBytes ?? 0)
      else if (event.type === 'warning') wrapped('Note: ', event.message)
    },
    clear,
  }
}
