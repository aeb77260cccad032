import type { Reporter, TestModule } from 'vitest/node'

/** Names every skipped test at the end, with its reason: what was not shown should not go unnoticed. */
export class SkippedReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    for (const module of modules) {
      if (module.errors().length > 0) continue // not skipped, but never reached; the errors are shown anyway
      for (const test of module.children.allTests('skipped')) {
        const result = test.result()
        const reason = (result.state === 'skipped' && result.note) || 'no reason given'
        console.log(` skipped: ${test.project.name} > ${test.fullName}: ${reason}`)
      }
    }
  }
}
