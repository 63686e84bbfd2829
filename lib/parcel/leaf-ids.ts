/** Chunk ids of what a leaf names, from the segments that hold them. */
import { HyperparcelError } from '../base/errors.ts'
import { CHUNK_ID_BYTES, MAP_LEAF_CHUNKS, SEGMENT_CHUNKS_MAX } from '../base/limits.ts'
import { refLog, refSlot, type MapLeaf } from '../format/map.ts'
import type { CommitSink } from './commit-sink.ts'
import { isNoId } from './kept-ids.ts'

const SEGMENT_ID_BYTES = SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES

/**
 * Copies them to their places in `leafIds`; those of zero chunks stay as they are. `keyOf` gives the key of a log by
 * its number. Rejects with `DATA_CORRUPT` where a segment does not have such a chunk.
 */
export async function fillLeafIds(
  { refs, blocks }: MapLeaf,
  leafIds: Buffer,
  keyOf: (log: number) => Buffer,
  sink: Pick<CommitSink, 'idsOf'>
): Promise<void> {
  /** Which of the segments a place is in. */
  const segmentOf = new Uint16Array(MAP_LEAF_CHUNKS)
  const known = new Map<number, number>()
  const logs: number[] = []
  const segments: number[] = []
  const named: number[] = []
  let last = -1
  let segment = 0
  for (let place = 0; place < MAP_LEAF_CHUNKS; place++) {
    if (refs[place] === 0) continue
    const name = refLog(refs[place]) * 0x1_0000_0000 + blocks[place]
    if (name !== last) {
      last = name
      segment = known.get(name) ?? known.size
      if (segment === known.size) {
        known.set(name, segment)
        segments.push(indexIn(logs, refLog(refs[place])), blocks[place])
      }
    }
    segmentOf[place] = segment
    named.push(place)
  }
  if (named.length === 0) return
  const ids = await sink.idsOf(logs.map(keyOf), Uint32Array.from(segments))
  for (const place of named) {
    const at = segmentOf[place] * SEGMENT_ID_BYTES + refSlot(refs[place]) * CHUNK_ID_BYTES
    if (isNoId(ids, at)) {
      throw new HyperparcelError('DATA_CORRUPT', 'A map names a chunk that its segment lacks')
    }
    ids.copy(leafIds, place * CHUNK_ID_BYTES, at, at + CHUNK_ID_BYTES)
  }
}

/** The value's place in a short list, where it is put if it was not there. */
function indexIn(list: number[], value: number): number {
  const index = list.indexOf(value)
  return index === -1 ? list.push(value) - 1 : index
}
