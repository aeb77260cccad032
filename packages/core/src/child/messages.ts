/** Every job that a child program knows: plain data in, plain data out, over IPC. */
export type JobTable = { readonly [name: string]: { readonly input: unknown; readonly result: unknown } }

/** Descriptor over which a job takes or gives bytes. */
export const CHANNEL_FD = 3

/** What the parent sends, once. */
export interface JobMessage {
  readonly job: string
  readonly input: unknown
}

/** What the child sends. */
export type Answer =
  | { readonly type: 'progress'; readonly bytes: number; readonly totalBytes?: number }
  | { readonly type: 'warning'; readonly message: string }
  | { readonly type: 'result'; readonly result: unknown }
  | {
      readonly type: 'error'
      readonly error: {
        readonly code: string
        readonly message: string
        readonly hint?: string
        readonly retryable?: boolean
      }
    }
