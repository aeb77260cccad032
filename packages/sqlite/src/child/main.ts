// The process that opens database files. POSIX drops all locks that a process holds on a file when it closes any
// descriptor of it, so the app's own process, whose connections may hold locks, never opens one.
import { serveJobs } from '@taskflow-backup/core'
import type { Jobs } from '../jobs.ts'
import { checkDatabase } from './check.ts'
import { describeDatabase } from './describe.ts'
import { writeDifferential } from './differential.ts'
import { followLog, writeLog } from './log-jobs.ts'
import { mergeChanges } from './merge-changes.ts'
import { openSource } from './open-source.ts'
import { findOpeners } from './openers.ts'
import { rebuild } from './rebuild.ts'
import { sendImage } from './send-image.ts'
import { swap } from './swap.ts'

serveJobs<Jobs>(
  {
    describe: ({ file, busyTimeoutMs }) => describeDatabase(openSource(file, busyTimeoutMs), busyTimeoutMs),
    image: (input, { onProgress }) => sendImage(input, onProgress),
    differential: (input, { onProgress }) => writeDifferential(input, onProgress),
    log: (input) => writeLog(input),
    follow: (input, tools) => followLog(input, tools),
    rebuild: (settings, { input }) => rebuild(settings, input()),
    merge: (settings, { input }) => mergeChanges(settings, input()),
    check: ({ file, expected }) => checkDatabase(file, expected),
    openers: ({ file }) => findOpeners(file),
    swap: (settings, { onWarning }) => swap(settings, onWarning),
  },
  // A swap ends with its lock held, see there: no exit handler may close the connection. Those that read the log may be
  // the last that have it open, and closing would empty and remove it.
  { endAbruptly: ['swap', 'log', 'follow'] },
)
