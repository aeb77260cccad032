import { Readable } from 'node:stream'
import type { Storage } from '@taskflow-backup/core'

/** Changes some methods of a good storage. */
export type Breaking = (inner: Storage) => Partial<Storage>

/** What is wrong, the cases that must notice, and how it is done. */
export type BrokenStorage = readonly [fault: string, cases: readonly RegExp[], breaking: Breaking]

export const isStream = (body: Readable | Uint8Array): body is Readable => !(body instanceof Uint8Array)
export const sized = (bytes: Uint8Array): Readable => Readable.from([bytes], { objectMode: false })
