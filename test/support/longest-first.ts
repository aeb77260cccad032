import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Files whose tests take a minute or more, one after the other. */
const LONG =
  /\/(.*conformance.*|concurrency|crash-windows|docs-\w+|kill|point-in-time|time-travel|wal-backup)\.test\.ts$/

/** Begins with the files that take longest, so that no processor waits for the last of them alone. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    const isLong = ({ moduleId }: TestSpecification): boolean => LONG.test(moduleId)
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))]
  }
}
