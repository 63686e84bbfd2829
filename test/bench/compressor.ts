/**
 * What a parcel's compression level gives and costs: segments of 64 KiB, as a commit makes them, of a Debian's data;
 * each level against the usual one, in one thread.
 */
import { open } from 'node:fs/promises'
import {
  CHUNK_BYTES,
  COMPRESSION_LEVEL,
  COMPRESSION_LEVEL_MAX,
  COMPRESSION_LEVEL_MIN,
  SEGMENT_DATA_BYTES
} from '../../lib/base/limits.ts'
import { compress } from '../../lib/chunk/compress.ts'
import { isZeroChunk } from '../../lib/chunk/ids.ts'
import { makeRow, median, type BenchOptions, type BenchRow } from './framework.ts'
import { benchGuest } from './parts/image.ts'

export async function run(opts: BenchOptions): Promise<BenchRow[]> {
  const { disk } = await benchGuest(opts)
  const segments = await segmentsOf(disk, (opts.small ? 2 : opts.large ? 512 : 128) * 1024 * 1024)
  const dataBytes = segments.length * SEGMENT_DATA_BYTES
  const rounds = opts.rounds ?? (opts.small ? 1 : 3)
  const levels: number[] = []
  for (let level = COMPRESSION_LEVEL_MIN; level <= COMPRESSION_LEVEL_MAX; level++)
    levels.push(level)
  const seconds = new Map(levels.map((level) => [level, [] as number[]]))
  const bytes = new Map<number, number>()
  for (let round = 0; round < rounds; round++) {
    opts.log(`compressor: round ${round + 1} of ${rounds}`)
    for (const level of levels) {
      opts.signal.throwIfAborted()
      const { user, system } = process.cpuUsage()
      bytes.set(level, sizeAt(segments, level))
      const used = process.cpuUsage()
      seconds.get(level)!.push((used.user + used.system - user - system) / 1e6)
    }
  }
  const speed = (level: number) => dataBytes / 1e6 / median(seconds.get(level)!)
  const peerName = `level ${COMPRESSION_LEVEL}`
  return levels.flatMap((level) => [
    makeRow({
      name: `speed-level-${level}`,
      unit: 'MB/s of CPU time',
      peerName,
      better: 'higher',
      ours: speed(level),
      peer: speed(COMPRESSION_LEVEL)
    }),
    makeRow({
      name: `size-level-${level}`,
      unit: '% of the data',
      peerName,
      better: 'lower',
      ours: (100 * bytes.get(level)!) / dataBytes,
      peer: (100 * bytes.get(COMPRESSION_LEVEL)!) / dataBytes
    })
  ])
}

function sizeAt(segments: Buffer[], level: number): number {
  let bytes = 0
  for (const segment of segments) bytes += compress(segment, level).data.byteLength
  return bytes
}

/** Chunks that are not zero, in the order of the image, 16 at a time. */
async function segmentsOf(image: string, bytesMax: number): Promise<Buffer[]> {
  const segments: Buffer[] = []
  const file = await open(image)
  try {
    let segment = Buffer.allocUnsafe(SEGMENT_DATA_BYTES)
    let filled = 0
    const piece = Buffer.allocUnsafe(1024 * 1024)
    for (let at = 0; segments.length * SEGMENT_DATA_BYTES < bytesMax; at += piece.byteLength) {
      const { bytesRead } = await file.read(piece, 0, piece.byteLength, at)
      if (bytesRead === 0) break
      for (let chunk = 0; chunk + CHUNK_BYTES <= bytesRead; chunk += CHUNK_BYTES) {
        if (isZeroChunk(piece, chunk)) continue
        piece.copy(segment, filled, chunk, chunk + CHUNK_BYTES)
        filled += CHUNK_BYTES
        if (filled < SEGMENT_DATA_BYTES) continue
        segments.push(segment)
        segment = Buffer.allocUnsafe(SEGMENT_DATA_BYTES)
        filled = 0
      }
    }
  } finally {
    await file.close()
  }
  return segments
}
