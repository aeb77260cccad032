// Prints "<passed> <failed> <skipped>" of a vitest JSON report, and to the error output a line and the message of each
// failure, also of those after which a second try passed: node scripts/count-tests.mjs <report> <exit code>
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
for (const { name, message, assertionResults } of testResults) {
  for (const { status, fullName, failureMessages } of assertionResults) {
    const unsteady = status === 'passed' && failureMessages.length > 0
    if (status === 'failed' || unsteady) tell(unsteady ? 'unsteady' : 'failed', fullName, name, failureMessages)
  }
  if (message) tell('failed', '(the file itself)', name, [message])
}
console.log(passed, brokenRun ? 1 : failed, numPendingTests + numTodoTests)

function tell(what, test, file, messages) {
  const lines = messages.join('\n').split('\n')
  const text = lines.filter((line) => !/^\s+at .*(node_modules|node:internal)/.test(line)).join('\n')
  console.error(`${what}: ${test} (${file})\n${text.slice(0, 1000)}`)
}
