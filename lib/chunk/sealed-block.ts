/**
 * Sealing and opening of the other log blocks. The payload under the seal is
 * `u8 compression | u32le raw bytes | data`; header, log key and index are associated data.
 */
import { HyperparcelError } from '../base/errors.ts'
import {
  BLOCK_HEADER_BYTES,
  SEALED_OVERHEAD_BYTES,
  readBlockHeader,
  writeBlockHeader
} from '../format/sealed.ts'
import { NONCE_BYTES, TAG_BYTES, open, seal } from './aead.ts'
import { compress } from './compress.ts'
import { decompress } from './decompress.ts'
import { associatedData } from './place.ts'

const PREFIX_BYTES = 5

/**
 * @param kind one of `KIND`
 * @param log key of the log that the block will be appended to
 * @param index that it will get there, or `ANY_INDEX`
 * @param key meta key of that log, or the registry key
 */
export function sealBlock(
  kind: number,
  payload: Buffer,
  log: Buffer,
  index: number,
  key: Buffer,
  keyEpoch: number
): Buffer {
  const packed = compress(payload)
  const message = Buffer.allocUnsafe(PREFIX_BYTES + packed.data.byteLength)
  message.writeUInt8(packed.compression, 0)
  message.writeUInt32LE(payload.byteLength, 1)
  packed.data.copy(message, PREFIX_BYTES)
  const block = Buffer.allocUnsafeSlow(SEALED_OVERHEAD_BYTES + message.byteLength)
  writeBlockHeader(block, kind, keyEpoch)
  const dataAt = BLOCK_HEADER_BYTES + NONCE_BYTES
  seal(
    block.subarray(dataAt),
    block.subarray(BLOCK_HEADER_BYTES, dataAt),
    message,
    associatedData(block, BLOCK_HEADER_BYTES, log, index),
    key
  )
  return block
}

/**
 * The payload of a sealed block of that kind.
 * @param bytesMax what its payload may grow to, decompressed
 * Throws `DATA_CORRUPT`, `FORMAT_INVALID`, `FORMAT_TOO_NEW`.
 */
export function openBlock(
  kind: number,
  block: Buffer,
  log: Buffer,
  index: number,
  key: Buffer,
  bytesMax: number
): Buffer {
  const header = readBlockHeader(block)
  if (header.kind !== kind || block.byteLength < SEALED_OVERHEAD_BYTES + PREFIX_BYTES) {
    throw new HyperparcelError('FORMAT_INVALID', `A log block is not of kind ${kind}`)
  }
  const dataAt = BLOCK_HEADER_BYTES + NONCE_BYTES
  const message = Buffer.allocUnsafeSlow(block.byteLength - dataAt - TAG_BYTES)
  open(
    message,
    block.subarray(BLOCK_HEADER_BYTES, dataAt),
    block.subarray(dataAt),
    associatedData(block, BLOCK_HEADER_BYTES, log, index),
    key
  )
  const rawBytes = message.readUInt32LE(1)
  if (rawBytes > bytesMax) {
    throw new HyperparcelError('FORMAT_INVALID', `A log block says it holds ${rawBytes} bytes`)
  }
  const payload = Buffer.allocUnsafeSlow(rawBytes)
  decompress(message.readUInt8(0), message.subarray(PREFIX_BYTES), payload)
  return payload
}
