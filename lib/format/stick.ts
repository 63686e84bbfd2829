/**
 * Files of a stick (`lib/lookaside`): an index of sealed frames, and parts with the blocks of logs as they are. Byte
 * tables are in `README.md`. All of it comes from a disk that anybody may have written to: sizes are checked before
 * anything is allocated.
 */
import { BLOCK_BYTES_MAX } from '../base/limits.ts'
import { HyperparcelError } from '../base/errors.ts'
import { blob, bool, bytes16, bytes32, invalid, list, optional, struct } from './fields.ts'
import { decodeWith, encodeWith } from './fields.ts'
import { node, uint, type WireNode } from './fetch.ts'

/** What is looked for on a medium: a folder, with one folder a parcel in it. */
export const STICK_DIRECTORY = 'hyperparcel-lookaside'
export const STICK_INDEX = 'index'
/** What a fill that did not end yet has added. */
export const STICK_JOURNAL = 'index.part'
const INDEX_MAGIC = Buffer.from('HPLS\x01\0\0\0', 'latin1')
const PART_MAGIC = Buffer.from('HPLP\x01\0\0\0', 'latin1')
const SALT_BYTES = 16
const TAG_BYTES = 16
export const STICK_HEADER_BYTES = INDEX_MAGIC.byteLength + SALT_BYTES + TAG_BYTES
export const PART_HEADER_BYTES = PART_MAGIC.byteLength

/** The length of a frame, its nonce, the tag of its seal. */
export const FRAME_LENGTH_BYTES = 4
export const FRAME_BYTES_MAX = 4 * 1024 * 1024
export const FRAME_BLOCKS_MAX = 16_384
export const FRAME_NODES_MAX = 49_152
const FRAME_LOGS_MAX = 16_384
const CARDS_MAX = 1024

export interface StickLog {
  /** By which the blocks and nodes of this stick name it. */
  number: number
  key: Buffer
  /** Signed, blocks. */
  length: number
  signature: Buffer
  /** Encoded by Hypercore. */
  manifest: Buffer
}

/** Where a block lies. */
export interface StickBlock {
  log: number
  index: number
  part: number
  offset: number
  bytes: number
}

export interface StickVersion {
  parcel: Buffer
  version: Buffer
  number: number
  /** The reissued map through which it is to be read. */
  annex: { log: Buffer; block: number } | null
}

export interface StickFrame {
  logs: StickLog[]
  blocks: StickBlock[]
  nodes: { log: number; node: WireNode }[]
  /** Of all devices, for a fleet of which the reader knows little. */
  cards: Buffer[]
  version: StickVersion | null
  /** Everything that the version needs is there. */
  complete: boolean
}

export function emptyFrame(): StickFrame {
  return { logs: [], blocks: [], nodes: [], cards: [], version: null, complete: false }
}

const FRAME = struct<StickFrame>({
  logs: list(
    struct<StickLog>({
      number: uint,
      key: bytes32,
      length: uint,
      signature: blob(256),
      manifest: blob(4096)
    }),
    FRAME_LOGS_MAX
  ),
  blocks: list(
    struct<StickBlock>({ log: uint, index: uint, part: uint, offset: uint, bytes: uint }),
    FRAME_BLOCKS_MAX
  ),
  nodes: list(struct<StickFrame['nodes'][number]>({ log: uint, node }), FRAME_NODES_MAX),
  cards: list(blob(256), CARDS_MAX),
  version: optional(
    struct<StickVersion>({
      parcel: bytes16,
      version: bytes32,
      number: uint,
      annex: optional(struct<NonNullable<StickVersion['annex']>>({ log: bytes32, block: uint }))
    })
  ),
  complete: bool
})

export function encodeFrame(frame: StickFrame): Buffer {
  const data = encodeWith(FRAME, frame)
  if (data.byteLength > FRAME_BYTES_MAX) throw invalid('A frame of a stick is too large')
  return data
}

/** Throws `FORMAT_INVALID`. */
export function decodeFrame(data: Buffer): StickFrame {
  if (data.byteLength > FRAME_BYTES_MAX) throw invalid('A frame of a stick is too large')
  const frame = decodeWith(FRAME, data)
  if (frame.blocks.some(({ bytes }) => bytes > BLOCK_BYTES_MAX)) {
    throw invalid('A block of a stick is too large')
  }
  return frame
}

export interface StickHeader {
  salt: Buffer
  /** Tells whose it is to those who have the key, and nothing to others. */
  tag: Buffer
}

export function encodeStickHeader({ salt, tag }: StickHeader): Buffer {
  return Buffer.concat([INDEX_MAGIC, salt, tag], STICK_HEADER_BYTES)
}

/** Throws `FORMAT_INVALID`, `FORMAT_TOO_NEW`. */
export function decodeStickHeader(data: Buffer): StickHeader {
  checkMagic(data, INDEX_MAGIC)
  if (data.byteLength < STICK_HEADER_BYTES) throw invalid('The index of a stick ends too early')
  const salted = data.subarray(INDEX_MAGIC.byteLength, STICK_HEADER_BYTES)
  return { salt: salted.subarray(0, SALT_BYTES), tag: salted.subarray(SALT_BYTES) }
}

export function partHeader(): Buffer {
  return Buffer.from(PART_MAGIC)
}

/** The name of a part. */
export function partName(part: number): string {
  return `part-${part.toString(16).padStart(6, '0')}`
}

function checkMagic(data: Buffer, magic: Buffer): void {
  if (data.byteLength < magic.byteLength || !data.subarray(0, 4).equals(magic.subarray(0, 4))) {
    throw invalid('This is not the index of a stick')
  }
  if (data[4] > magic[4]) {
    throw new HyperparcelError('FORMAT_TOO_NEW', `Format ${data[4]} of a stick is not known here`, {
      hint: 'It was written by a newer Hyperparcel: update this device.'
    })
  }
  if (!data.subarray(0, magic.byteLength).equals(magic)) throw invalid('This is not a stick')
}
