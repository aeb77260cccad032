import type { Compression, Finding, ManifestMember, SentFacts } from '@taskflow-backup/core'

// What the app's process asks of the child, and what it gets back. All of it is plain data that goes over IPC.

/** One of PostgreSQL's programs and how to run it. */
export interface ProgramOrders {
  readonly file: string
  /** Never a secret: everybody on the machine can read them. */
  readonly args: readonly string[]
  /** The whole environment; may hold the password. */
  readonly env: Readonly<Record<string, string>>
}

/** How a member comes to the disk: as one file, or as the files of a tar. */
export interface UnpackOrders {
  readonly member: ManifestMember
  readonly to: { readonly file: string } | { readonly folder: string }
}

export type LogicalJobs = {
  /** Runs a program and sends what it prints, compressed. */
  dump: { input: { readonly program: ProgramOrders; readonly compression: Compression }; result: SentFacts }
  /** Runs a program. */
  runProgram: { input: ProgramOrders; result: null }
  /** Sends the files of a folder as a tar, compressed. */
  packFolder: { input: { readonly folder: string; readonly compression: Compression }; result: SentFacts }
  /** Reads the plain content of a member from the channel and says whether it is whole. */
  inspectDump: { input: { readonly name: string; readonly plainBytes: number }; result: readonly Finding[] }
  /** Decodes a stored member that comes in on the channel, checks it, and writes it to the disk. */
  unpackDump: { input: UnpackOrders; result: null }
}
