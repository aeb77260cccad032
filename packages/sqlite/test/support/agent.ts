// A process that runs the functions that a test sends it. Run by `place.agent()`.
import * as fs from 'node:fs'
import Database from 'better-sqlite3'

/** What a function that runs in an agent can use; it sees nothing of the test around it. */
export interface AgentTools {
  readonly Database: typeof Database
  readonly fs: typeof fs
  /** Keeps what must live from one call to the next. */
  readonly held: Record<string, Database.Database>
  /** The library, loaded on the first call. */
  readonly library: () => Promise<typeof import('@taskflow-backup/core') & typeof import('../../src/index.ts')>
}

const tools: AgentTools = {
  Database,
  fs,
  held: {},
  library: async () => ({ ...(await import('@taskflow-backup/core')), ...(await import('../../src/index.ts')) }),
}

process.on('message', async ({ id, source, input }: { id: number; source: string; input: unknown }) => {
  try {
    const action = new Function(`return (${source})`)() as (tools: AgentTools, input: unknown) => unknown
    process.send?.({ id, output: await action(tools, input) })
  } catch (error) {
    const { code, message } = error as { code?: string; message?: string }
    process.send?.({ id, error: { code, message: message ?? String(error) } })
  }
})
process.once('disconnect', () => process.exit())
process.send?.({ ready: true })
