/** Buffers between threads: their memory moves, and arrives as plain byte arrays. */

/** The memory of the buffers of an answer, to be moved. */
export function memoryOf(message: object): ArrayBuffer[] {
  return Object.values(message)
    .filter((value): value is Uint8Array<ArrayBuffer> => value instanceof Uint8Array)
    .map((bytes) => bytes.buffer)
}

/** The same with buffers for byte arrays, also one level down (keys). */
export function asBuffers<T extends object>(message: T): T {
  const entries = Object.entries(message).map(([name, value]: [string, unknown]) => {
    if (value instanceof Uint8Array) {
      return [name, Buffer.from(value.buffer, value.byteOffset, value.byteLength)]
    }
    const nested = typeof value === 'object' && value !== null && !Array.isArray(value)
    return [name, nested ? asBuffers(value) : value]
  })
  return Object.fromEntries(entries) as T
}
