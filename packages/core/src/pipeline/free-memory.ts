/**
 * Frees the memory of a buffer that nobody reads again. V8 comes for it when tens of MiB have piled up, because it
 * counts the small object and not what hangs on it; then it looks through the whole heap, which is the app's.
 *
 * Leaves alone what lies in a pool together with others', which is told by up to `slackBytes` more than the buffer has.
 */
export function freeMemory({ buffer, length }: Uint8Array, slackBytes = 0): void {
  if (buffer.byteLength > length + slackBytes) return
  const memory = buffer as ArrayBuffer & { transfer(length: number): ArrayBuffer } // not in the ES2023 types
  memory.transfer(0)
}
