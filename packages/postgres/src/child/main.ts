// Everything that is work for the processor: hashing, compressing, unpacking, combining. It runs in this process, so that
// the app's own goes on undisturbed.
import { type JobHandlers, serveJobs } from '@taskflow-backup/core'
import type { Jobs } from '../jobs.ts'
import { logicalHandlers } from '../logical/child/handlers.ts'

const handlers: JobHandlers<Jobs> = {
  ...logicalHandlers,
  // A log backup may start this program every second: a job loads only what it needs.
  baseBackup: async (input, tools) => (await import('./base-backup.ts')).sendBaseBackup(input, tools),
  wal: async (input, { onProgress }) => (await import('./wal.ts')).sendWal(input, onProgress),
  scanMember: async ({ name, plainBytes }, { input }) =>
    (await import('../physical/scan-member.ts')).scanMember(name, input(), plainBytes),
  layOut: async (input, tools) => (await import('./lay-out.ts')).layOut(input, tools.input()),
}

// See zlib-sync.ts.
serveJobs(handlers, { endAbruptly: ['inspectDump'] })
