/** Writes a resume pack at the end of a log: its head, then the chunks once more, in the order in which they are given. */
import { CHUNK_BYTES, CHUNK_ID_BYTES, SEGMENT_CHUNKS_MAX } from '../base/limits.ts'
import { compress } from '../chunk/compress.ts'
import { isZeroChunk, writeChunkId } from '../chunk/ids.ts'
import { sealBlock } from '../chunk/sealed-block.ts'
import { packedSegmentBytes, writeSegment } from '../chunk/segment.ts'
import { encodePackHead, type PackHead, type PackRun } from '../format/pack.ts'
import { KIND } from '../format/sealed.ts'
import type { VersionRecord } from '../format/version.ts'
import type { CommitSink } from './commit-sink.ts'

/** A chunk of the version: volume of its record, and number. */
export interface PackChunk {
  volume: number
  chunk: number
}

export interface PackContent {
  version: Buffer
  record: VersionRecord
  /** In order. */
  chunks: PackChunk[]
  /** So many of them belong to the answer. */
  answered: number
  zeros: PackRun[]
  dedupKey: Buffer
  /** Of that version, verified. */
  read(chunk: PackChunk, target: Buffer): void | Promise<void>
}

export interface WrittenPack {
  /** Where its head is. */
  block: number
  segments: number
  chunks: number
  /** Of them up to the answer. */
  answered: number
  /** Sealed. */
  bytesStored: number
}

const NO_IDS = Buffer.alloc(0)
const BATCH_BYTES = 4 * 1024 * 1024

/** Chunks that turn out to be zeros are left out. Nothing is durable yet on return. */
export async function writePack(content: PackContent, sink: CommitSink): Promise<WrittenPack> {
  const sealed: Buffer[] = []
  const kept: PackChunk[] = []
  const data = Buffer.allocUnsafeSlow(SEGMENT_CHUNKS_MAX * CHUNK_BYTES)
  const ids = Buffer.allocUnsafe(SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES)
  const block = sink.firstBlock
  let filled = 0
  let answered = 0
  const close = () => {
    if (filled === 0) return
    const packed = compress(data.subarray(0, filled * CHUNK_BYTES), sink.compressionLevel)
    const segment = Buffer.allocUnsafeSlow(packedSegmentBytes(filled, packed))
    const index = block + 1 + sealed.length
    const own = ids.subarray(0, filled * CHUNK_ID_BYTES)
    writeSegment(segment, packed, own, sink.log, index, sink.keys, sink.keyEpoch, KIND.PACK)
    sealed.push(segment)
    filled = 0
  }
  for (const [i, chunk] of content.chunks.entries()) {
    const at = filled * CHUNK_BYTES
    await content.read(chunk, data.subarray(at, at + CHUNK_BYTES))
    if (isZeroChunk(data, at)) continue
    writeChunkId(ids, filled, data, at, content.dedupKey)
    kept.push(chunk)
    if (i < content.answered) answered++
    if (++filled === SEGMENT_CHUNKS_MAX) close()
  }
  close()
  data.fill(0)
  const { version, record, zeros } = content
  const volumes = record.volumes.map(({ name, root }) => ({ name, root: root?.hash ?? null }))
  const head: PackHead = { version, volumes, runs: runsOf(kept), answered, zeros }
  const { keys, keyEpoch } = sink
  sealed.unshift(sealBlock(KIND.ANNEX, encodePackHead(head), sink.log, block, keys.meta, keyEpoch))
  const bytesStored = await append(sink, block, sealed)
  return { block, segments: sealed.length - 1, chunks: kept.length, answered, bytesStored }
}

async function append(sink: CommitSink, first: number, blocks: Buffer[]): Promise<number> {
  let total = 0
  for (let at = 0; at < blocks.length;) {
    const batch: Buffer[] = []
    let bytes = 0
    for (; at < blocks.length && bytes < BATCH_BYTES; at++) {
      batch.push(blocks[at])
      bytes += blocks[at].byteLength
    }
    await sink.append({
      first: first + at - batch.length,
      data: Buffer.concat(batch),
      lengths: batch.map((block) => block.byteLength),
      chunks: batch.map(() => 0),
      ids: NO_IDS
    })
    total += bytes
  }
  return total
}

/** Neighbours in order and number become one run. */
function runsOf(chunks: PackChunk[]): PackRun[] {
  const runs: PackRun[] = []
  for (const { volume, chunk } of chunks) {
    const last = runs.at(-1)
    if (last?.volume === volume && last.first + last.count === chunk) last.count++
    else runs.push({ volume, first: chunk, count: 1 })
  }
  return runs
}
