import { hash } from 'node:crypto'
import * as v from 'valibot'
import type { Manifest } from './contracts/backup.ts'
import type { Storage } from './contracts/storage.ts'
import { BackupError } from './errors.ts'
import { manifestKey, parseBackupId } from './layout.ts'
import { wholeBody } from './pipeline/whole-body.ts'
import { isKeySegment } from './storage/key.ts'

/** The newest format that this version reads, and the one that it writes. */
const FORMAT_VERSION = 1
/** A manifest is a few KiB; more than this is not one. */
const MANIFEST_BYTES = 8 * 1024 * 1024
const UTF_8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const ZEROS = '0'.repeat(64)
const CHECKSUM = /"checksum": "([0-9a-f]{64})"\n}\n$/

const text = v.pipe(v.string(), v.nonEmpty())
const time = v.pipe(v.string(), v.isoTimestamp())
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const kind = v.picklist(['full', 'differential', 'log'])
const backupId = v.pipe(
  v.string(),
  v.check((id) => parseBackupId(id) !== undefined, 'not the id of a backup'),
)
const fileName = v.pipe(v.string(), v.check(isKeySegment, 'not a file name'))
const facts = v.object({ bytes: count, sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)) })
const member = v.object({
  name: fileName,
  file: fileName,
  codecs: v.array(v.object({ name: text, level: v.optional(v.number()) })),
  plain: facts,
  stored: facts,
})

const schema = v.object({
  formatVersion: v.literal(FORMAT_VERSION),
  generator: v.object({ name: text, version: text }),
  id: backupId,
  plan: text,
  chain: text,
  kind,
  requested: v.optional(v.object({ kind, reason: text })),
  base: v.optional(v.object({ full: backupId, previous: backupId })),
  engine: v.object({ name: text, version: text }),
  startedAt: time,
  consistentAt: time,
  finishedAt: time,
  position: v.object({ begin: v.optional(v.string()), end: v.string() }),
  members: v.pipe(v.array(member), v.minLength(1)),
  source: v.object({
    name: text,
    engineVersion: text,
    sizeBytes: v.optional(count),
    details: v.optional(v.record(v.string(), v.any())),
  }),
  method: text,
  notes: v.array(v.string()),
  resolutionMs: v.optional(count),
  gaps: v.optional(v.array(v.object({ after: time, until: time, reason: text }))),
})

/** The bytes of `manifest.json`: indented JSON whose last field, `checksum`, is over all the others. */
export function serializeManifest(manifest: Manifest): Buffer {
  const open = `${JSON.stringify({ ...manifest, checksum: ZEROS }, null, 2)}\n`
  return Buffer.from(open.replace(`"checksum": "${ZEROS}"\n}\n`, `"checksum": "${sha256(open)}"\n}\n`))
}

/**
 * Reads the bytes of a `manifest.json`, and refuses them when a single one has changed.
 *
 * @throws `MANIFEST_DAMAGED`, `FORMAT_TOO_NEW`
 */
export function parseManifest(bytes: Uint8Array, where: string): Manifest {
  const damaged = (why: string, cause?: unknown) =>
    new BackupError('MANIFEST_DAMAGED', `The manifest ${where} is damaged: ${why}.`, { cause })
  let text: string
  let content: unknown
  try {
    text = UTF_8.decode(bytes)
    content = JSON.parse(text)
  } catch (error) {
    throw damaged('it is not JSON', error)
  }
  const checksum = CHECKSUM.exec(text)
  if (!checksum) throw damaged('its checksum is missing')
  const open = `${text.slice(0, checksum.index)}"checksum": "${ZEROS}"\n}\n`
  if (sha256(open) !== checksum[1]) throw damaged('its checksum is wrong')
  const version = (content as { formatVersion?: unknown }).formatVersion
  if (typeof version === 'number' && version > FORMAT_VERSION) {
    throw new BackupError(
      'FORMAT_TOO_NEW',
      `The manifest ${where} has format ${version}; this version reads ${FORMAT_VERSION}.`,
    )
  }
  const result = v.safeParse(schema, content)
  if (!result.success)
    throw damaged(result.issues.map((issue) => `${v.getDotPath(issue)}: ${issue.message}`).join('; '))
  return result.output as Manifest
}

/**
 * Fetches and checks the manifest of one backup.
 *
 * @throws `OBJECT_MISSING`, `MANIFEST_DAMAGED`, `FORMAT_TOO_NEW` and whatever the storage throws
 */
export async function readManifest(
  storage: Storage,
  plan: string,
  id: string,
  signal?: AbortSignal,
): Promise<Manifest> {
  const key = manifestKey(plan, id)
  const where = `${key} in ${storage.describe()}`
  const body = await storage.get(key, { ...(signal && { signal }), range: { offset: 0, length: MANIFEST_BYTES } })
  const manifest = parseManifest(await wholeBody(body), where)
  // A manifest that was copied to another place would describe another backup's members.
  if (manifest.id !== id || manifest.plan !== plan) {
    throw new BackupError('MANIFEST_DAMAGED', `The manifest ${where} belongs to ${manifest.plan}/${manifest.id}.`)
  }
  return manifest
}

function sha256(text: string): string {
  return hash('sha256', text)
}
