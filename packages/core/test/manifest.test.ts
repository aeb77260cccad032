import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createBackup, type Manifest, memory } from '../src/index.ts'
import { manifestKey } from '../src/layout.ts'
import { parseManifest, readManifest, serializeManifest } from '../src/manifest.ts'
import { scenario } from './support/scenario.ts'
import { codeOf } from './support/text.ts'

async function sample(): Promise<Manifest> {
  const { plan, source } = scenario(3)
  source.append('ü "quoted" \\ text')
  return (await createBackup(plan)).manifest
}

const codeFor = (bytes: Uint8Array): string | undefined => {
  try {
    parseManifest(bytes, 'here')
    return undefined
  } catch (error) {
    return (error as { code?: string }).code ?? String(error)
  }
}

describe('a manifest', () => {
  test('comes back as it was written', async () => {
    const manifest = await sample()
    expect(parseManifest(serializeManifest(manifest), 'here')).toEqual(manifest)
  })

  test('comes back with every kind of text in it', async () => {
    const manifest = await sample()
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' })), fc.string(), (notes, details) => {
        const odd = {
          ...manifest,
          notes: [...notes, '"checksum": "', `$& $' $1 \n}\n`],
          source: { ...manifest.source, details: { details } },
        }
        // Lone surrogates cannot be written as UTF-8; JSON escapes them.
        expect(parseManifest(serializeManifest(odd), 'here')).toEqual(odd)
      }),
      { numRuns: 60 },
    )
  })

  test.each([0x01, 0x20, 0x80, 0xff])('is refused when any byte is changed by %d', async (mask) => {
    const bytes = serializeManifest(await sample())
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes)
      changed[at] = (changed[at] as number) ^ mask
      expect(codeFor(changed), `byte ${at}`).toMatch(/^(MANIFEST_DAMAGED|FORMAT_TOO_NEW)$/)
    }
  })

  test('is refused when it is cut at any length, or goes on', async () => {
    const bytes = serializeManifest(await sample())
    for (let length = 0; length < bytes.length; length++) {
      expect(codeFor(bytes.subarray(0, length)), `${length} bytes`).toBe('MANIFEST_DAMAGED')
    }
    for (const more of [' ', '\n', '\0', 'x', '{}'])
      expect(codeFor(Buffer.concat([bytes, Buffer.from(more)]))).toBe('MANIFEST_DAMAGED')
  })

  test('of a newer format is refused as such', async () => {
    const newer = { ...(await sample()), formatVersion: 2, somethingNew: true } as unknown as Manifest
    expect(codeFor(serializeManifest(newer))).toBe('FORMAT_TOO_NEW')
  })

  const BAD: readonly [string, (manifest: Manifest) => object][] = [
    ['without members', () => ({ members: [] })],
    ['with a member that leaves its folder', ({ members }) => ({ members: [{ ...members[0], file: '../../x' }] })],
    [
      'with a negative length',
      ({ members }) => ({ members: [{ ...members[0], stored: { bytes: -1, sha256: '0'.repeat(64) } }] }),
    ],
    ['with a short hash', ({ members }) => ({ members: [{ ...members[0], plain: { bytes: 1, sha256: 'abc' } }] })],
    ['with another kind', () => ({ kind: 'partial' })],
    ['with no id', () => ({ id: '../x' })],
    ['with a bad base', () => ({ base: { full: 'x', previous: 'y' } })],
    ['with a bad time', () => ({ consistentAt: 'yesterday' })],
    ['of format 0', () => ({ formatVersion: 0 })],
    ['of no format', () => ({ formatVersion: undefined })],
    ['without a position', () => ({ position: {} })],
  ]
  test.each(BAD)('%s is refused', async (_what, change) => {
    const manifest = await sample()
    expect(codeFor(serializeManifest({ ...manifest, ...change(manifest) } as Manifest))).toBe('MANIFEST_DAMAGED')
  })

  test('that lies in the place of another is refused', async () => {
    const storage = memory()
    const manifest = await sample()
    await storage.put(manifestKey('books', manifest.id), serializeManifest(manifest))
    await storage.put(manifestKey('other', manifest.id), serializeManifest(manifest))
    expect(await readManifest(storage, 'books', manifest.id)).toEqual(manifest)
    expect(await codeOf(readManifest(storage, 'other', manifest.id))).toBe('MANIFEST_DAMAGED')
    expect(await codeOf(readManifest(storage, 'books', manifest.id.replace('full', 'log')))).toBe('OBJECT_MISSING')
  })
})
