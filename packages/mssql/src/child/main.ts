// Everything that is work for the processor: reading backup files, hashing, compressing. It runs in this process, so that
// the app's own goes on undisturbed.
import { serveJobs } from '@taskflow-backup/core'
import type { Jobs } from '../jobs.ts'
import { scanBackup } from './scan-backup.ts'
import { sendBackup } from './send-backup.ts'
import { unpackBackup } from './unpack-backup.ts'

serveJobs<Jobs>({
  sendBackup: (input, { onProgress }) => sendBackup(input, onProgress),
  scanBackup: ({ name }, { input }) => scanBackup(name, input()),
  unpackBackup: (input, tools) => unpackBackup(input, tools.input()),
})
