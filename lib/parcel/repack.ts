/**
 * Copies the needed chunks of segments that are mostly dead into full ones at the end of a log. The old ones stay where
 * they are; whether anybody may delete them is decided when all maps that name them were issued anew.
 */
import { CHUNK_BYTES, CHUNK_ID_BYTES, SEGMENT_DATA_BYTES } from '../base/limits.ts'
import { writeChunkId } from '../chunk/ids.ts'
import { openSegment, openSegmentIds, type LogKeys } from '../chunk/segment.ts'
import type { ChunkWork } from './chunk-work.ts'
import type { CommitSink } from './commit-sink.ts'
import { MovedChunks } from './moved-chunks.ts'
import { SegmentPacker } from './segment-packer.ts'
import type { LiveSlots } from './slot-masks.ts'
import type { StoredBlocks } from './verify.ts'

/** Segments read at once: 4 MiB of chunks. */
const READ_BATCH = 64
const NOT_AS_SAID = ['DATA_CORRUPT', 'FORMAT_INVALID', 'FORMAT_TOO_NEW']

export interface Repacked {
  moved: MovedChunks
  /** Log index after the new segments. */
  next: number
  /** Sealed. */
  bytesStored: number
}

/**
 * @param segments in an order in which their chunks may well lie
 * A segment that is not here, or that is bad, is left out: its chunks did not move.
 */
export async function repack(
  segments: LiveSlots[],
  blocks: StoredBlocks,
  sink: CommitSink,
  dedupKey: Buffer,
  work: ChunkWork,
  onsegments: (done: number) => void
): Promise<Repacked> {
  const packer = new SegmentPacker(sink, work)
  const moved = new MovedChunks(sink.log, sink.firstBlock)
  const target = Buffer.allocUnsafeSlow(SEGMENT_DATA_BYTES)
  for (let at = 0; at < segments.length;) {
    const { log } = segments[at]
    let end = at + 1
    while (end < segments.length && end - at < READ_BATCH && segments[end].log.equals(log)) end++
    const batch = segments.slice(at, end)
    const keys = await blocks.keysOf(log)
    const found = await blocks.read(
      log,
      batch.map(({ block }) => block)
    )
    for (const [i, { block, mask }] of batch.entries()) {
      const sealed = found[i]
      if (sealed === null || sealed === 'unreadable') continue
      const opened = openChecked(sealed, log, block, mask, keys, target, dedupKey)
      if (opened === null) continue
      moved.add(log, block, mask)
      for (let slot = 0; mask >>> slot !== 0; slot++) {
        if ((mask & (1 << slot)) === 0) continue
        const full = packer.add(opened.data, slot * CHUNK_BYTES, opened.ids, slot)
        if (full !== undefined) await full
      }
    }
    at = end
    onsegments(at)
  }
  target.fill(0)
  await packer.finish()
  return { moved, next: packer.block, bytesStored: packer.bytesStored }
}

/** Its chunks and ids; null where it is not what it says. */
function openChecked(
  sealed: Buffer,
  log: Buffer,
  block: number,
  mask: number,
  keys: LogKeys,
  target: Buffer,
  dedupKey: Buffer
): { data: Buffer; ids: Buffer } | null {
  try {
    const ids = openSegmentIds(sealed, log, block, keys.id)
    const data = openSegment(sealed, log, block, keys.data, target)
    const id = Buffer.allocUnsafe(CHUNK_ID_BYTES)
    for (let slot = 0; mask >>> slot !== 0; slot++) {
      if ((mask & (1 << slot)) === 0) continue
      const at = slot * CHUNK_ID_BYTES
      if (at >= ids.byteLength) return null
      writeChunkId(id, 0, data, slot * CHUNK_BYTES, dedupKey)
      if (!id.equals(ids.subarray(at, at + CHUNK_ID_BYTES))) return null
    }
    return { data, ids }
  } catch (err) {
    if (NOT_AS_SAID.includes((err as { code?: string }).code ?? '')) return null
    throw err
  }
}
