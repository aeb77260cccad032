// A tour of what the library does, in about ten seconds: `npm start` runs it. Each step is a file in steps/.
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { BackupError, toBackupError } from '@taskflow-backup/core'
import { readArguments, type TourArguments, USAGE } from './arguments.ts'
import { formatMs } from './format.ts'
import { type Scene, setScene } from './scene.ts'
import { createScreen, type Screen } from './screen.ts'
import { backupOnly, backupWhileWriting, makeDatabase } from './steps/backup.ts'
import { tellEnd } from './steps/end.ts'
import { list } from './steps/list.ts'
import { pruneMadeUpHistory } from './steps/prune.ts'
import { restoreOverLive, restoreToNewFile } from './steps/restore.ts'
import { findFlippedByte, verifyThreeLevels } from './steps/verify.ts'
import { openWorkplace, type Workplace } from './workplace.ts'

const INTERRUPTED = 130

const args = readArguments(process.argv.slice(2))
if (args === 'help') {
  console.log(USAGE)
} else if ('problem' in args) {
  console.error(`${args.problem}\n\n${USAGE}`)
  process.exitCode = 2
} else {
  process.exitCode = await run(args)
}

/** Runs the tour; returns the exit code. */
async function run(args: TourArguments): Promise<number> {
  const screen = createScreen(process.stdout, process.env)
  const interrupt = new AbortController()
  const stop = (): void => interrupt.abort(new BackupError('ABORTED', 'The tour was interrupted.'))
  // Once: whoever presses ctrl-C twice wants out at once.
  process.once('SIGINT', stop).once('SIGTERM', stop)
  process.stdout.on('error', stop) // nobody reads any more: `npm start | head`
  let workplace: Workplace | undefined
  try {
    if (args.db !== undefined && !existsSync(args.db)) {
      throw new BackupError('SOURCE_MISSING', `There is no file ${resolve(args.db)}.`)
    }
    workplace = await openWorkplace(args.dir)
    await tour(setScene(args, workplace.folder, screen, interrupt.signal))
    return 0
  } catch (thrown) {
    if (interrupt.signal.aborted) {
      await workplace?.remove()
      screen.heading(
        `\nInterrupted. Everything that the tour made is removed${workplace ? `: ${workplace.folder}` : ''}.`,
      )
      return INTERRUPTED
    }
    tellFailure(screen, toBackupError(thrown, 'INTERNAL', 'The tour failed'), workplace?.folder)
    return 1
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop)
  }
}

async function tour(scene: Scene): Promise<void> {
  const startedMs = performance.now()
  scene.screen.heading('A tour of taskflow-backup: SQLite')
  if (!scene.foreign) await makeDatabase(scene)
  const backup = scene.foreign ? await backupOnly(scene) : await backupWhileWriting(scene)
  await list(scene)
  await verifyThreeLevels(scene, backup)
  await findFlippedByte(scene, backup)
  await restoreToNewFile(scene, backup)
  await restoreOverLive(scene, backup)
  await pruneMadeUpHistory(scene)
  await tellEnd(scene)
  scene.screen.heading(`\nDone in ${formatMs(performance.now() - startedMs)}.`)
}

function tellFailure(screen: Screen, { code, message, hint }: BackupError, folder: string | undefined): void {
  screen.clear()
  console.error(`\n${code}: ${message}\nHint: ${hint}`)
  if (folder) console.error(`What the tour made until then is in ${folder}; delete it when you like.`)
}
