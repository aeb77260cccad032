/** Every job that a child program knows: plain data in, plain data out, over IPC. */
export type JobTable = { readonly [name: string]: { readonly input: unknown; readonly result: unknown } }

/** Descriptor over which a job takes or gives bytes. */
export const CHANNEL_FD = 3

/** What the parent sends, once. */
export interface JobMessage {
  readonly job: string
  readonly input: unknown
}

/** What the parent sends while the job runs. */
export interface AskMessage {
  readonly ask: number
  readonly request: unknown
}

/** An error on its way from the child to the parent. */
export interface SentError {
  readonly code: string
  readonly message: string
  readonly hint?: string
  readonly retryable?: boolean
}

/** What the child sends. */
export type Answer =
  | { readonly type: 'progress'; readonly bytes: number; readonly totalBytes?: number }
  | { readonly type: 'warning'; readonly message: string }
  | { readonly type: 'result'; readonly result: unknown }
  | { readonly type: 'error'; readonly error: SentError }
  | { readonly type: 'reply'; readonly ask: number; readonly reply?: unknown; readonly error?: SentError }
