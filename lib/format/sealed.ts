/** Envelope of every log block except segments: map nodes, version records, device state, registry records. */
import { HyperparcelError } from '../base/errors.ts'
import { BLOCK_BYTES_MAX } from '../base/limits.ts'

export const BLOCK_MAGIC = 0x5048 // "HP", little endian
export const BLOCK_FORMAT = 1

/** What a log block holds. Numbers are final. */
export const KIND = {
  SEGMENT: 1,
  MAP: 2,
  VERSION: 3,
  STATE: 4,
  REGISTRY: 5,
  /** Annexes; their payload says which. So far: reissued maps, heads of resume packs. */
  ANNEX: 6,
  /** Never used: pin lists are documents of their own, `pin-list.ts`. */
  PIN_LIST: 7,
  /** A registry record of kind `key-epoch`, not sealed: whoever may open it does not have the key yet. */
  KEY_EPOCH: 8,
  /** A segment of a resume pack: laid out as any segment, but no map names it and no dedup index knows it. */
  PACK: 9
} as const

export const BLOCK_HEADER_BYTES = 8
/** Header and nonce. */
export const SEALED_OVERHEAD_BYTES = BLOCK_HEADER_BYTES + 24 + 16

export interface BlockHeader {
  kind: number
  keyEpoch: number
}

/** Writes magic, format, kind and key epoch to the first eight bytes. */
export function writeBlockHeader(block: Buffer, kind: number, keyEpoch: number): void {
  block.writeUInt16LE(BLOCK_MAGIC, 0)
  block.writeUInt8(BLOCK_FORMAT, 2)
  block.writeUInt8(kind, 3)
  block.writeUInt32LE(keyEpoch, 4)
}

/** Reads and checks the header. Throws `FORMAT_INVALID`, or `FORMAT_TOO_NEW` for a format of a later release. */
export function readBlockHeader(block: Buffer): BlockHeader {
  if (block.byteLength < BLOCK_HEADER_BYTES || block.byteLength > BLOCK_BYTES_MAX) {
    throw new HyperparcelError('FORMAT_INVALID', `A log block has ${block.byteLength} bytes`)
  }
  if (block.readUInt16LE(0) !== BLOCK_MAGIC) {
    throw new HyperparcelError('FORMAT_INVALID', 'A log block does not start with its magic')
  }
  const format = block.readUInt8(2)
  if (format > BLOCK_FORMAT) {
    throw new HyperparcelError('FORMAT_TOO_NEW', `A log block has format ${format}`, {
      hint: 'It was written by a newer Hyperparcel: update this device.'
    })
  }
  if (format === 0) throw new HyperparcelError('FORMAT_INVALID', 'A log block has format 0')
  return { kind: block.readUInt8(3), keyEpoch: block.readUInt32LE(4) }
}
