/**
 * One thing that every implementation of a contract must do, as data: runs under any test framework.
 *
 * @typeParam Subject - What makes instances of the implementation under test.
 */
export interface ConformanceCase<Subject> {
  /** What a good implementation does; unique among the cases of its contract. */
  readonly name: string
  /** What an implementation that fails this case does wrong. */
  readonly fault: string
  /** Resolves when the implementation is good; rejects with an `AssertionError` when it is not. */
  run(subject: Subject): Promise<void>
  /** Why the case does not concern this implementation; `undefined` when it does. */
  skip?(subject: Subject): Promise<string | undefined>
}
