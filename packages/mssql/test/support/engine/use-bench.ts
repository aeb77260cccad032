import { afterEach, beforeEach, expect } from 'vitest'
import { type EngineBench, engineBench } from './bench.ts'
import type { Outcome } from './client.ts'
import type { FakeSqlServerOptions } from './server.ts'

/** The bench of the test that runs, and short ways to use it. */
export interface BenchInUse extends EngineBench {
  /** Runs a statement that must succeed. */
  must(statement: string): Promise<Outcome>
  stateOf(database: string): { readonly name: string; readonly state: string; readonly access: string } | undefined
}

/** Gives each test of the file a bench of its own, and closes it. A fault that a test ordered must have struck. */
export function useBench(options: Partial<FakeSqlServerOptions> = {}): BenchInUse {
  let bench: EngineBench
  beforeEach(async () => {
    bench = await engineBench(options)
  })
  afterEach(async () => {
    expect(bench.fake.engine.faults.pending).toBe(0)
    await bench.close()
  })
  return {
    get fake() {
      return bench.fake
    },
    get client() {
      return bench.client
    },
    get folder() {
      return bench.folder
    },
    backup: (...given) => bench.backup(...given),
    restore: (...given) => bench.restore(...given),
    insert: (row) => bench.insert(row),
    errorsOf: (statement) => bench.errorsOf(statement),
    restored: (...steps) => bench.restored(...steps),
    historyOf: (name) => bench.historyOf(name),
    close: () => bench.close(),
    must: (statement) => bench.client.must(statement),
    stateOf: (name) => bench.fake.databases().find((database) => database.name === name),
  }
}
