// Figures for people.

/** Keeps a figure and its unit on one line; shown as a space. */
export const NO_BREAK = '\u00a0'

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']

export function formatBytes(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), UNITS.length - 1)
  return power === 0 ? `${bytes}${NO_BREAK}bytes` : `${(bytes / 1024 ** power).toFixed(1)}${NO_BREAK}${UNITS[power]}`
}

export function formatMs(ms: number): string {
  return ms < 1000 ? `${Math.max(1, Math.round(ms))}${NO_BREAK}ms` : `${(ms / 1000).toFixed(1)}${NO_BREAK}s`
}

export function formatCount(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString('en-GB')}${NO_BREAK}${count === 1 ? one : many}`
}

export function formatDay(date: Date): string {
  return date.toISOString().slice(0, 10)
}

/** `20261122T020000000Z-k3f9/20261122T020000000Z-full` is unique, and long: its last part tells a person enough. */
export function shortId(id: string): string {
  return id.slice(id.indexOf('/') + 1)
}

/** `text` in lines of at most `width` characters. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}
