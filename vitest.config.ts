import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'
import { EndReporter } from './test/support/end-reporter.ts'
import { LongestFirst } from './test/support/longest-first.ts'
import projects from './vitest.workspace.ts'

/** `TEST_REPORT=file.json` writes the results there as well. */
const reportFile = process.env.TEST_REPORT

export default defineConfig({
  test: {
    projects,
    // Most tests wait for child processes and for the disk; Vitest's own choice leaves processors idle.
    maxWorkers: availableParallelism() + 1,
    sequence: { sequencer: LongestFirst },
    reporters: [
      'default',
      new EndReporter(),
      ...(reportFile ? [['json', { outputFile: reportFile }] as ['json', { outputFile: string }]] : []),
    ],
  },
})
