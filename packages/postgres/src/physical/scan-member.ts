import type { Readable } from 'node:stream'
import { BackupError, type Finding } from '@taskflow-backup/core'
import { ManifestScanner } from './manifest-scanner.ts'
import { type PhysicalMember, parseMemberName } from './member-names.ts'
import { TarScanner } from './tar-scanner.ts'
import { parseHistory } from './timeline.ts'
import { WalScanner } from './wal-scanner.ts'

const MOST_HISTORY_BYTES = 1024 * 1024

/** Takes a member piece by piece; `end` says what it was. Both throw `BackupError` for a flaw. */
interface Scanner {
  update(bytes: Uint8Array): void
  end(): string
}

/** Reads one member to its end and says whether it is whole. A flaw is a finding; a body that fails, throws. */
export async function scanMember(name: string, body: Readable, plainBytes: number): Promise<Finding[]> {
  const member = parseMemberName(name)
  if (!member) return [finding('name', 'error', `${name} is no member of a physical backup.`)]
  const check = `postgres-${member.kind}`
  const scanner = scannerFor(name, member)
  let flaw: BackupError | undefined
  let bytes = 0
  const attempt = <T>(work: () => T): T | undefined => {
    try {
      return work()
    } catch (error) {
      if (!(error instanceof BackupError)) throw error
      flaw ??= error
      return undefined
    }
  }
  for await (const piece of body as AsyncIterable<Buffer>) {
    bytes += piece.length
    if (!flaw) attempt(() => scanner.update(piece))
  }
  if (!flaw && bytes !== plainBytes)
    return [finding(check, 'error', `${name} has ${bytes} bytes instead of ${plainBytes}.`)]
  const summary = flaw ? undefined : attempt(() => scanner.end())
  return flaw
    ? [{ ...finding(check, 'error', flaw.message), code: flaw.code }]
    : [finding(check, 'ok', `${name} is ${summary}.`)]
}

const finding = (check: string, severity: Finding['severity'], message: string): Finding => ({
  check,
  severity,
  message,
})

function scannerFor(name: string, member: PhysicalMember): Scanner {
  switch (member.kind) {
    case 'base':
    case 'tablespace':
      return tarScanner(name, member.kind === 'base' ? BASE_FILES : [])
    case 'backup_manifest': {
      const scanner = new ManifestScanner(name)
      return {
        update: (bytes) => scanner.update(bytes),
        end: () => {
          const { files, fileBytes } = scanner.end()
          return `the manifest of ${files} files with ${fileBytes} bytes`
        },
      }
    }
    case 'wal': {
      const scanner = new WalScanner(name, member.begin)
      return {
        update: (bytes) => scanner.update(bytes),
        end: () => `log of ${scanner.pages} pages with ${scanner.records} records`,
      }
    }
    case 'history':
      return historyScanner(name)
  }
}

/** Without these no server starts. */
const BASE_FILES = ['PG_VERSION', 'backup_label', 'global/pg_control']

function tarScanner(name: string, needed: readonly string[]): Scanner {
  const missing = new Set(needed)
  const scanner = new TarScanner(name, {
    onEntry: (entry) => {
      missing.delete(entry.name)
      if (entry.name.startsWith('/') || entry.name.split('/').includes('..'))
        throw new BackupError('MEMBER_DAMAGED', `${name} has an entry that leads out of it: ${entry.name}`)
    },
  })
  return {
    update: (bytes) => scanner.update(bytes),
    end() {
      scanner.end()
      if (missing.size > 0) throw new BackupError('MEMBER_DAMAGED', `${name} has no ${[...missing].join(' and no ')}.`)
      return `a tar of ${scanner.entries} entries`
    },
  }
}

function historyScanner(name: string): Scanner {
  const pieces: Uint8Array[] = []
  let bytes = 0
  return {
    update(piece) {
      bytes += piece.length
      if (bytes > MOST_HISTORY_BYTES) throw new BackupError('MEMBER_DAMAGED', `${name} is absurdly long.`)
      pieces.push(piece)
    },
    end() {
      const ancestors = parseHistory(Buffer.concat(pieces).toString())
      if (ancestors.length === 0) throw new BackupError('MEMBER_DAMAGED', `${name} names no timeline.`)
      return `the history of a timeline with ${ancestors.length} ancestors`
    },
  }
}
