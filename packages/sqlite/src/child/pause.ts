const NEVER = new Int32Array(new SharedArrayBuffer(4))

/** Holds this thread for a millisecond, so that other processes have their turn. */
export const pause = (): void => void Atomics.wait(NEVER, 0, 0, 1)
