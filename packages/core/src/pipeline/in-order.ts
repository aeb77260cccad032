/**
 * Applies `work` to every item, up to `inFlight` of them at the same time, and yields the results in the order of the
 * items. A failure is thrown at its place; nothing is started after it.
 */
export async function* inOrder<T, R>(
  items: AsyncIterable<T> | Iterable<T>,
  inFlight: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const running: Promise<R>[] = []
  try {
    for await (const item of items) {
      if (running.length === inFlight) yield await (running.shift() as Promise<R>)
      const started = work(item)
      started.catch(() => {}) // thrown where it is awaited
      running.push(started)
    }
    while (running.length > 0) yield await (running.shift() as Promise<R>)
  } finally {
    await Promise.allSettled(running)
  }
}
