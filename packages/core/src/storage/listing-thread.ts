import { on } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import type { ObjectInfo } from '../contracts/storage.ts'
import { MISSING, storageError } from './file-errors.ts'
import { KEY_SEGMENT } from './key.ts'

// What a thread of its own finds in a large folder. Synchronous calls there take a third of the time of asynchronous
// ones here, and none of the application's.

/** Few enough that the application does not notice taking them over. */
const BATCH_OBJECTS = 100

type Message =
  | { readonly is: 'found'; readonly objects: readonly ObjectInfo[] }
  /** Cloning takes `code` and the like off an error, so they come beside it. */
  | { readonly is: 'failed'; readonly error: Error; readonly fields: object; readonly what: string }
  | { readonly is: 'done' }

// The thread's program is text: so it is the same wherever a bundler puts this file, and needs no file of its own. It
// walks as folder-listing.ts does, and a test holds the two to the same results.
const PROGRAM = `
const { lstatSync, readdirSync } = require('node:fs')
const { join } = require('node:path')
const { parentPort, workerData } = require('node:worker_threads')
const { root, folder, names, batchObjects, keySegment, missing } = workerData

const top = join(root, '/') // once: joining each path would take a fifth of the time
let objects = []
let failed = false
function hand() {
  parentPort.postMessage({ is: 'found', objects })
  objects = []
}

function attempt(work, what) {
  try {
    return work()
  } catch (error) {
    if (missing.includes(error.code)) return undefined
    failed = true
    parentPort.postMessage({ is: 'failed', error, fields: { ...error }, what })
  }
}

function readFolder(folder) {
  const entries = attempt(() => readdirSync(top + folder, { withFileTypes: true }), 'Cannot list ' + folder)
  return (entries ?? [])
    .filter((entry) => (entry.isFile() || entry.isDirectory()) && keySegment.test(entry.name))
    .map((entry) => (entry.isDirectory() ? entry.name + '/' : entry.name))
    .sort()
}

function walk(folder, names) {
  for (const name of names) {
    if (failed) return
    const key = folder + name
    if (key.endsWith('/')) {
      walk(key, readFolder(key))
      continue
    }
    const found = attempt(() => lstatSync(top + key), 'Cannot look at ' + key)
    if (found) objects.push({ key, sizeBytes: found.size, modifiedAt: found.mtime })
    if (objects.length >= batchObjects) hand()
  }
}

walk(folder, names)
if (!failed) {
  hand()
  parentPort.postMessage({ is: 'done' })
}
`

/**
 * The files `names` in `folder`, and all below those that end in `/`, in order; `undefined` where the process may start
 * no threads. To be iterated at once. When it ends, however it ends, the thread has ended as well.
 */
export function listInThread(
  root: string,
  folder: string,
  names: readonly string[],
): AsyncIterable<ObjectInfo> | undefined {
  const rules = { batchObjects: BATCH_OBJECTS, keySegment: KEY_SEGMENT, missing: MISSING }
  try {
    const thread = new Worker(PROGRAM, {
      eval: true,
      name: 'taskflow-backup listing',
      workerData: { root, folder, names, ...rules },
      // Loaders, inspectors and hooks of the application have nothing to do in there.
      env: {},
      execArgv: [],
    })
    return received(thread, `Cannot list ${folder} in ${root}`, root)
  } catch {
    return undefined // no permission (`--permission`), or no more threads
  }
}

async function* received(thread: Worker, what: string, root: string): AsyncGenerator<ObjectInfo> {
  // What a thread throws while it is being ended is nobody's business, but would end the process.
  thread.on('error', () => {})
  try {
    for await (const [message] of on(thread, 'message', { close: ['exit'] }) as AsyncIterable<[Message]>) {
      if (message.is === 'done') return
      if (message.is === 'failed') {
        throw storageError(Object.assign(message.error, message.fields), `${message.what} in ${root}`)
      }
      for (const object of message.objects) yield object
      // Batches that have piled up must not be worked off in one go.
      await turn()
    }
    throw new Error('The thread ended early.')
  } catch (error) {
    throw storageError(error, what)
  } finally {
    await thread.terminate()
  }
}
