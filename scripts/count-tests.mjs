// Prints "<passed> <failed> <skipped>" of a vitest JSON report: node scripts/count-tests.mjs <report> <exit code>
import { readFileSync } from 'node:fs'

const [file = '', exitCode = '1'] = process.argv.slice(2)
let report = {}
try {
  report = JSON.parse(readFileSync(file, 'utf8'))
} catch {
  // No report: the run did not get that far, and its exit code says so.
}
const {
  numPassedTests: passed = 0,
  numFailedTests = 0,
  numPendingTests = 0,
  numTodoTests = 0,
  testResults = [],
} = report
// A file can fail without a failed test: it cannot be loaded, or a hook of it fails. So can a whole run.
const brokenFiles = testResults.filter(
  ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
)
const failed = numFailedTests + brokenFiles.length
const brokenRun = failed === 0 && (exitCode !== '0' || passed === 0)
console.log(passed, brokenRun ? 1 : failed, numPendingTests + numTodoTests)
