/**
 * What the seals of a block bind besides its content: its header, the log that it belongs to and its index there. A
 * block that a disk gives back in the place of another one of the same log does not open.
 */
const LOG_KEY_BYTES = 32

/** Of blocks that are good in any place: registry records, which carry signatures. */
export const ANY_INDEX = 0

const scratch = new Map<number, Buffer>()

/** Header, key of the log, index as 8 bytes, little endian. Used before the next one is made. */
export function associatedData(
  block: Buffer,
  headerBytes: number,
  log: Buffer,
  index: number
): Buffer {
  let data = scratch.get(headerBytes)
  if (data === undefined) {
    data = Buffer.alloc(headerBytes + LOG_KEY_BYTES + 8)
    scratch.set(headerBytes, data)
  }
  block.copy(data, 0, 0, headerBytes)
  log.copy(data, headerBytes, 0, LOG_KEY_BYTES)
  data.writeUInt32LE(index >>> 0, headerBytes + LOG_KEY_BYTES)
  data.writeUInt32LE(Math.floor(index / 0x1_0000_0000), headerBytes + LOG_KEY_BYTES + 4)
  return data
}
