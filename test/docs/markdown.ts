import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..')

/** Folders whose Markdown is not ours, or is generated. */
const SKIPPED = new Set(['node_modules', 'dist', 'coverage', '.git', '.tmp', '.changeset'])

/** Every Markdown file of the repository, relative to its root. */
export function markdownFiles(folder = root): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) {
      return SKIPPED.has(entry.name) || relative(root, path) === join('docs', 'api') ? [] : markdownFiles(path)
    }
    return entry.name.endsWith('.md') ? [relative(root, path)] : []
  })
}

/** One fenced block of a page. */
export interface Block {
  /** For messages: `docs/format.md:12`. */
  readonly where: string
  readonly language: string
  /** What follows the language on the opening line. */
  readonly info: string
  readonly code: string
}

export function readBlocks(file: string): Block[] {
  return blocksOf(readFileSync(join(root, file), 'utf8'), file, 1)
}

/** The fenced blocks of `text`, which begins at line `firstLine` of `file`. */
function blocksOf(text: string, file: string, firstLine: number): Block[] {
  const blocks: Block[] = []
  let open: { where: string; language: string; info: string; lines: string[] } | undefined
  for (const [index, line] of text.split('\n').entries()) {
    const fence = /^\s*```(\S*)\s*(.*)$/.exec(line)
    if (open && fence) {
      blocks.push({ where: open.where, language: open.language, info: open.info, code: `${open.lines.join('\n')}\n` })
      open = undefined
    } else if (open) open.lines.push(line)
    else if (fence) {
      open = { where: `${file}:${firstLine + index}`, language: fence[1] ?? '', info: fence[2] ?? '', lines: [] }
    }
  }
  return blocks
}

/** The blocks of every `@example` in the sources of the packages. */
export function docstringBlocks(): Block[] {
  return sourceFiles(join(root, 'packages')).flatMap((path) => {
    const text = readFileSync(path, 'utf8')
    const file = relative(root, path)
    return [...text.matchAll(/\/\*\*[\s\S]*?\*\//g)].flatMap((comment) => {
      const lineOf = text.slice(0, comment.index).split('\n').length
      const plain = comment[0].replace(/^ *\* ?/gm, '')
      return plain.includes('@example') ? blocksOf(plain, file, lineOf) : []
    })
  })
}

function sourceFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return SKIPPED.has(entry.name) || entry.name === 'test' ? [] : sourceFiles(path)
    return path.includes(`${join('/', 'src', '/')}`) && entry.name.endsWith('.ts') ? [path] : []
  })
}

/** The anchors of a page's headings, as GitHub makes them. */
export function anchorsOf(file: string): Set<string> {
  const text = readFileSync(join(root, file), 'utf8').replace(/^```[\s\S]*?^```/gm, '')
  const anchors = new Set<string>()
  for (const [, heading = ''] of text.matchAll(/^#{1,6} (.+)$/gm)) {
    const plain = heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '')
    anchors.add(plain.replaceAll(' ', '-'))
  }
  return anchors
}
