import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, normalize, relative } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { errorsPage } from '../docs/scripts/errors.ts'
import { createBackup, defineBackupPlan, memory } from '../packages/core/src/index.ts'
import { parseManifest } from '../packages/core/src/manifest.ts'
import { postgres } from '../packages/postgres/src/index.ts'
import { sqlite } from '../packages/sqlite/src/index.ts'
import { anchorsOf, markdownFiles, readBlocks, root } from './docs/markdown.ts'

// What the pages say about the code, held against the code.

const read = (file: string): string => readFileSync(join(root, file), 'utf8')

describe('links', () => {
  test.each(markdownFiles())('of %s lead somewhere', (file) => {
    const text = read(file).replace(/^```[\s\S]*?^```/gm, '')
    const broken = [...text.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link = '']) => {
      if (/^[a-z]+:/.test(link)) return []
      const [path = '', anchor] = link.split('#')
      const target = path === '' ? file : relative(root, normalize(join(root, dirname(file), path)))
      if (!existsSync(join(root, target))) return [link]
      return anchor && !anchorsOf(target).has(anchor) ? [link] : []
    })
    expect(broken).toEqual([])
  })
})

describe('README.md', () => {
  test('shows exactly the code of examples/quickstart', () => {
    const [block] = readBlocks('README.md').filter(({ language }) => language === 'ts')
    expect(block?.code).toBe(read('examples/quickstart/quickstart.ts'))
  })

  test('says what works exactly where an adapter makes it', () => {
    const adapters = {
      SQLite: sqlite({ file: 'app.db' }),
      PostgreSQL: postgres({ connection: {}, mode: 'physical', physical: { slot: 'backup' } }),
      'SQL Server': undefined,
    }
    for (const [engine, adapter] of Object.entries(adapters)) {
      const row = new RegExp(`^\\| ${engine} +\\|(.*)\\|$`, 'm').exec(read('README.md'))?.[1] ?? ''
      const works = row.split('|').map((cell) => cell.trim().startsWith('**works**'))
      const kinds = adapter?.kinds ?? []
      const has = [
        ...(['full', 'differential', 'log'] as const).map((kind) => kinds.includes(kind)),
        (adapter?.pointInTime ?? false) !== false,
      ]
      expect(works, engine).toEqual(has)
    }
  })
})

describe('docs/errors.md', () => {
  test('is what docs/scripts/errors.ts writes', () => {
    expect(read('docs/errors.md')).toBe(errorsPage())
  })
})

describe('docs/format.md', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'taskflow-format-'))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  const [example] = readBlocks('docs/format.md').filter(({ language }) => language === 'json')

  test('shows a manifest that the library accepts', () => {
    expect(parseManifest(Buffer.from(example?.code ?? ''), 'docs/format.md').plan).toBe('taskmanagement')
  })

  test('shows the fields that a backup has today, and describes each', async () => {
    const file = join(folder, 'app.db')
    const Database = createRequire(join(root, 'packages', 'sqlite', 'package.json'))('better-sqlite3')
    new Database(file).exec('PRAGMA journal_mode = WAL; CREATE TABLE tasks (id INTEGER PRIMARY KEY)').close()
    const plan = defineBackupPlan({ name: 'app', adapter: sqlite({ file }), destinations: [memory()] })
    const { manifest } = await createBackup(plan)
    const shown = fieldsOf(JSON.parse(example?.code ?? ''))
    expect(fieldsOf({ ...manifest, checksum: '' })).toEqual(shown)
    const described = read('docs/format.md')
    for (const field of shown.filter((name) => !name.startsWith('source.details.'))) {
      expect(described, field).toContain(`\`${field}\``)
    }
    for (const detail of Object.keys(manifest.source.details ?? {})) expect(described).toContain(`\`${detail}\``)
  })
})

/** Paths of all values that are no objects, like `members[].plain.bytes`. */
function fieldsOf(value: unknown, path = ''): string[] {
  if (Array.isArray(value))
    return value.length === 0 ? [path] : [...new Set(value.flatMap((item) => fieldsOf(item, `${path}[]`)))]
  if (typeof value !== 'object' || value === null) return [path]
  return Object.entries(value).flatMap(([key, item]) => fieldsOf(item, path === '' ? key : `${path}.${key}`))
}
