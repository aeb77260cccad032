/** All bytes of a small body. `buffer` of `node:stream/consumers` makes a blob of them first, which costs more. */
export async function wholeBody(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of body) pieces.push(piece)
  const [first] = pieces
  return first && pieces.length === 1 ? first : Buffer.concat(pieces)
}
