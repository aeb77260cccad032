import type { Reporter, SerializedError, TestModule } from 'vitest/node'

/** Says at the end what should not go unnoticed: every skipped test with its reason, and errors that no test had. */
export class EndReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    for (const module of modules) {
      if (module.errors().length > 0) continue // not skipped, but never reached; the errors are shown anyway
      for (const test of module.children.allTests('skipped')) {
        const result = test.result()
        const reason = (result.state === 'skipped' && result.note) || 'no reason given'
        console.log(` skipped: ${test.project.name} > ${test.fullName}: ${reason}`)
      }
    }
    for (const { message, stack = '', VITEST_TEST_PATH: file } of unhandled) {
      const own = stack.split('\n').filter((line) => /^\s+at /.test(line) && !/node_modules|node:internal/.test(line))
      console.log([` unhandled: ${message} (while ${file ?? 'no test'} ran)`, ...own].join('\n'))
    }
  }
}
