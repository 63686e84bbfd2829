/**
 * zstd decompression in WebAssembly: into no more than what a block says it holds, and whatever the data, nothing
 * outside of the module's memory is touched. Nothing is allocated for a segment: compressed data is put into the
 * module's memory by whoever opens its seal, and comes out in the caller's buffer.
 */
import loadZstd from '@foxglove/wasm-zstd/dist/wasm-zstd.js'
import { assert, HyperparcelError } from '../base/errors.ts'
import { SEGMENT_BYTES_MAX } from '../format/segment.ts'
import { COMPRESSION } from './compress.ts'

const zstd = await loadZstd()

interface Room {
  pointer: number
  bytes: number
}

/** Both grow when something larger than a segment comes. */
const source = makeRoom(SEGMENT_BYTES_MAX)
const result = makeRoom(SEGMENT_BYTES_MAX)

/**
 * Where `bytes` of compressed data are put before `decompressSource`, until the next call of either. What they
 * decompress to fits into memory: `bytes` was checked against a limit.
 */
export function sourceBuffer(bytes: number): Buffer {
  fit(source, bytes)
  return Buffer.from(zstd.HEAPU8.buffer, source.pointer, bytes)
}

/** Decompresses `bytes` bytes in `sourceBuffer`. Throws `DATA_CORRUPT` unless they fill `target` exactly. */
export function decompressSource(bytes: number, target: Buffer): void {
  const { byteLength } = target
  fit(result, byteLength)
  const written = zstd._decompress(result.pointer, byteLength, source.pointer, bytes)
  if (written !== byteLength) throw corrupt()
  target.set(zstd.HEAPU8.subarray(result.pointer, result.pointer + byteLength))
}

/** Fills `target` with what `data` decompresses to. Throws `DATA_CORRUPT` where that is not exactly as long. */
export function decompress(compression: number, data: Buffer, target: Buffer): void {
  if (compression === COMPRESSION.ZSTD) {
    data.copy(sourceBuffer(data.byteLength))
    decompressSource(data.byteLength, target)
  } else {
    if (compression !== COMPRESSION.RAW || data.byteLength !== target.byteLength) throw corrupt()
    data.copy(target)
  }
}

export function corrupt(): HyperparcelError {
  return new HyperparcelError('DATA_CORRUPT', 'Compressed data does not decode to what it says')
}

function makeRoom(bytes: number): Room {
  return { pointer: allocate(bytes), bytes }
}

function fit(room: Room, bytes: number): void {
  if (bytes <= room.bytes) return
  zstd._free(room.pointer)
  room.bytes = 0
  room.pointer = allocate(bytes)
  room.bytes = bytes
}

function allocate(bytes: number): number {
  const pointer = zstd._malloc(bytes)
  assert(pointer !== 0, 'the decompressor has memory')
  return pointer
}
