import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Block, docstringBlocks, markdownFiles, readBlocks, root } from './docs/markdown.ts'
import { instrument, type Outcome, runSnippets, type Snippet, type Workshop, writeSnippets } from './docs/snippets.ts'

// Every block of TypeScript in the pages and in the docstrings is run, and prints what its comments say.

const pages = markdownFiles().map((file) => readBlocks(file).filter(({ language }) => language === 'ts'))
const all = [...pages.flat(), ...docstringBlocks().filter(({ language }) => language === 'ts')]
const runnable = (block: Block): boolean => block.info !== 'no-run'

let workshop: Workshop
let outcomes: Map<Snippet, Outcome>

beforeAll(async () => {
  const own = docstringBlocks().filter((block) => block.language === 'ts' && runnable(block))
  workshop = await writeSnippets([...pages.map((blocks) => blocks.filter(runnable)), ...own.map((block) => [block])])
  outcomes = await runSnippets(workshop)
}, 900_000)

afterAll(() => workshop?.remove())

describe('the code in pages and docstrings', () => {
  test.each(all.filter(runnable).map((block) => [block.where, block] as const))('%s', (_, block) => {
    const [snippet, outcome] = [...outcomes].find(([candidate]) => candidate.block.where === block.where) ?? []
    expect(outcome?.error).toBeUndefined()
    for (const [line, text] of Object.entries(snippet?.expected ?? {})) {
      expect(outcome?.printed[Number(line)]?.trimEnd(), `line ${line} of the block`).toBe(text)
    }
  })

  test('has the types that it needs', async () => {
    await writeFile(
      join(workshop.folder, 'tsconfig.json'),
      JSON.stringify({
        extends: join(root, 'tsconfig.base.json'),
        compilerOptions: { types: ['node'], noUnusedLocals: false },
        include: ['page-*/*.ts'],
      }),
    )
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
    const printed = await promisify(execFile)(process.execPath, [tsc, '-p', workshop.folder], {
      cwd: workshop.folder,
    }).then(
      () => '',
      ({ stdout }: { stdout: string }) =>
        workshop.snippets.reduce(
          (text, { file, block }) => text.replaceAll(file.slice(workshop.folder.length + 1), block.where),
          stdout,
        ),
    )
    expect(printed).toBe('')
  })

  test('says why where it is not run', () => {
    for (const block of all.filter((candidate) => !runnable(candidate))) {
      expect(block.code, block.where).toMatch(/^\/\/ .{10}/)
    }
  })
})

test('expectations are read from comments', () => {
  const { code, expected } = instrument('console.log(1) // 1\nconsole.log(2)\n// 2\n// two\nconsole.log(3)\n')
  expect(expected).toEqual({ 1: '1', 2: '2\ntwo' })
  expect(code.split('\n')[4]).toBe("console.log('\\u00005', 3)")
})
