/** What NBD options and their replies carry. Parsers return null for malformed data. */

export interface InfoRequest {
  exportName: string
  infos: number[]
}

export interface MetaContextRequest {
  exportName: string
  queries: string[]
}

/** NBD_OPT_INFO, NBD_OPT_GO: name length 4, name, count 2, then count × 2. */
export function parseInfoRequest(data: Buffer): InfoRequest | null {
  const name = readString(data, 0)
  if (name === null || data.byteLength < name.end + 2) return null
  const count = data.readUInt16BE(name.end)
  if (data.byteLength !== name.end + 2 + count * 2) return null
  const infos = Array.from({ length: count }, (_, i) => data.readUInt16BE(name.end + 2 + i * 2))
  return { exportName: name.value, infos }
}

/** NBD_OPT_LIST_META_CONTEXT, NBD_OPT_SET_META_CONTEXT: name length 4, name, count 4, then count × (length 4, query). */
export function parseMetaContextRequest(data: Buffer): MetaContextRequest | null {
  const name = readString(data, 0)
  if (name === null || data.byteLength < name.end + 4) return null
  const count = data.readUInt32BE(name.end)
  const queries: string[] = []
  let position = name.end + 4
  for (let i = 0; i < count; i++) {
    const query = readString(data, position)
    if (query === null) return null
    queries.push(query.value)
    position = query.end
  }
  return position === data.byteLength ? { exportName: name.value, queries } : null
}

/** 32-bit numbers in a row. */
export function words(...values: number[]): Buffer {
  const buffer = Buffer.alloc(values.length * 4)
  values.forEach((value, i) => buffer.writeUInt32BE(value, i * 4))
  return buffer
}

export function u16(value: number): Buffer {
  const buffer = Buffer.alloc(2)
  buffer.writeUInt16BE(value)
  return buffer
}

export function u64(value: number): Buffer {
  const buffer = Buffer.alloc(8)
  buffer.writeBigUInt64BE(BigInt(value))
  return buffer
}

/** Its length in 32 bits, then the text. */
export function countedText(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([words(bytes.byteLength), bytes])
}

function readString(data: Buffer, at: number): { value: string; end: number } | null {
  if (data.byteLength < at + 4) return null
  const end = at + 4 + data.readUInt32BE(at)
  return end <= data.byteLength ? { value: data.toString('utf8', at + 4, end), end } : null
}
