// Everything that is work for the processor: hashing, compressing, unpacking, combining. It runs in this process, so that
// the app's own goes on undisturbed.
import { serveJobs } from '@taskflow-backup/core'
import type { Jobs } from '../jobs.ts'
import { logicalHandlers } from '../logical/child/handlers.ts'
import { layOut } from './lay-out.ts'

serveJobs<Jobs>({
  ...logicalHandlers,
  // A log backup may start this program every second: a job loads only what it needs.
  baseBackup: async (input, tools) => (await import('./base-backup.ts')).sendBaseBackup(input, tools),
  wal: async (input, { onProgress }) => (await import('./wal.ts')).sendWal(input, onProgress),
  scanMember: async ({ name, plainBytes }, { input }) =>
    (await import('../physical/scan-member.ts')).scanMember(name, input() as AsyncIterable<Buffer>, plainBytes),
  layOut: (input, tools) => layOut(input, tools.input()),
})
