/**
 * A commit: changed chunks of several volumes become segments, maps and one version record at the end of this
 * device's log of the parcel.
 *
 *   leaf of changed chunks ─▶ ids ─▶ lookup ─▶ new ones to the packer ─▶ segments
 *                                       └────▶ places ─▶ leaf ─▶ map nodes ─▶ version record
 *
 * Nothing references the blocks of a commit before its version record is durable, so a commit that stops
 * half-way leaves only unreferenced segments, found again by their ids.
 */
import { Bits } from '../base/block-set.ts'
import { HyperparcelError } from '../base/errors.ts'
import { CHUNK_BYTES, CHUNK_ID_BYTES, SEGMENT_CHUNKS_MAX } from '../base/limits.ts'
import { sealBlock } from '../chunk/sealed-block.ts'
import { encodeLeaf, emptyLeaf, packRef, type MapLeaf } from '../format/map.ts'
import { KIND } from '../format/sealed.ts'
import {
  encodeVersion,
  versionId,
  type StateRecord,
  type VersionRecord,
  type VolumeRecord
} from '../format/version.ts'
import { inlineWork, type ChunkWork } from './chunk-work.ts'
import type { CommitSink, Places } from './commit-sink.ts'
import { keepIds } from './kept-ids.ts'
import { fillLeafIds } from './leaf-ids.ts'
import type { LogTable } from './log-table.ts'
import { LEAF_ID_BYTES, MapPacker, leafHash, writeMap, type ChangedLeaf } from './map-writer.ts'
import { MetaWriter } from './meta-writer.ts'
import { RecentIds } from './recent-ids.ts'
import { SegmentPacker } from './segment-packer.ts'
import type { VolumeMap } from './volume-map.ts'

const STATE_PIECE_BYTES = 1024 * 1024

/** Changed chunks of one leaf. */
export interface LeafChange {
  /** Which leaf of the volume. */
  index: number
  /** Places within the leaf (0…1023), ascending, of the chunks in `data`. */
  places: number[]
  /** Alone in its memory block, from its start. */
  data: Buffer
  /** Places within the leaf that are zero now. */
  zeros: number[]
}

export interface VolumeCommit {
  name: string
  sizeBytes: number
  readOnly: boolean
  /** Map of the parent version; an empty one for a new volume. */
  base: VolumeMap
  changed: Map<number, ChangedLeaf>
}

export interface CommitResult {
  record: VersionRecord
  id: Buffer
  /** The sealed version record, still to be appended by whoever makes the version exist. */
  block: Buffer
  /** Log index that it must get. */
  at: number
}

export type CommitMeta = Pick<
  VersionRecord,
  'parcel' | 'number' | 'parent' | 'lease' | 'author' | 'time' | 'message' | 'cause' | 'machine'
>

export class Commit {
  readonly #sink: CommitSink
  readonly #work: ChunkWork
  readonly #dedupKey: Buffer
  readonly #logs: LogTable
  readonly #ownLog: number
  readonly #packer: SegmentPacker
  readonly #recent = new RecentIds()
  readonly #since: number
  /** Chunks that were stored ahead, as block × 16 + slot. */
  readonly #ahead = new Bits()
  /** Unsealed bytes of chunks that no version had. */
  bytesNew = 0

  /**
   * @param logs the parent's table of logs, left as it is
   * @param since blocks of this log from here on, before those of this commit, are of no version yet
   */
  constructor(
    sink: CommitSink,
    dedupKey: Buffer,
    logs: LogTable,
    work: ChunkWork = inlineWork,
    since = sink.firstBlock
  ) {
    this.#since = since
    this.#sink = sink
    this.#work = work
    this.#dedupKey = dedupKey
    this.#logs = logs.clone()
    this.#ownLog = this.#logs.numberOf(sink.log)
    this.#packer = new SegmentPacker(sink, work)
  }

  /** Leaves that are worked on at the same time; some more may be read meanwhile. */
  get lanes(): number {
    return this.#work.lanes
  }

  /**
   * Stores the changes of one leaf. Leaves of one volume come in any order, each once.
   * Takes the buffer with the data, and gives one of the same size back.
   */
  async addLeaf(volume: VolumeCommit, change: LeafChange): Promise<Buffer> {
    const { places } = change
    const job = { kind: 'hash' as const, data: change.data, chunks: places.length }
    const [base, { data, ids: all }] = await Promise.all([
      volume.base.loadLeaf(change.index),
      this.#work.hash({ ...job, dedupKey: this.#dedupKey })
    ])
    const leaf = copyOf(base)
    for (const place of change.zeros) leaf.refs[place] = leaf.blocks[place] = 0
    for (const place of places) leaf.refs[place] = leaf.blocks[place] = 0
    const { ids, kept } = keepIds(all, places.length)
    const leafIds = Buffer.alloc(LEAF_ID_BYTES)
    const [found] = await Promise.all([
      kept.length === 0 ? null : this.#sink.lookup(ids),
      // The content hash covers unchanged chunks too.
      fillLeafIds(leaf, leafIds, (log) => this.#logs.keyOf(log), this.#sink)
    ])
    for (let k = 0; k < kept.length; k++) {
      const place = places[kept[k]]
      ids.copy(leafIds, place * CHUNK_ID_BYTES, k * CHUNK_ID_BYTES, (k + 1) * CHUNK_ID_BYTES)
      if (this.#placeStored(leaf, place, found!, k)) continue
      const full = this.#store(leaf, place, data, kept[k] * CHUNK_BYTES, ids, k)
      if (full !== undefined) await full
    }
    const zero = leaf.refs.every((ref) => ref === 0)
    volume.changed.set(change.index, {
      node: zero ? null : encodeLeaf(leaf),
      hash: leafHash(leafIds)
    })
    return data
  }

  /**
   * Appends what is left, the device state and the maps, and seals the version record.
   * @param state device state in pieces of any size, or null
   * @param bytesAhead stored bytes of what was stored ahead
   * Rejects with `COMMIT_STALE` when something else was appended meanwhile.
   */
  async finish(
    meta: CommitMeta,
    volumes: VolumeCommit[],
    state: Buffer[] | null,
    bytesAhead = 0
  ): Promise<CommitResult> {
    await this.#packer.finish()
    const { log, keys, keyEpoch } = this.#sink
    const writer = new MetaWriter(this.#sink, this.#packer.block)
    const stateRecord = state === null ? null : await this.#storeState(writer, state)
    const packer = new MapPacker(this.#ownLog, writer.next)
    const records: VolumeRecord[] = []
    for (const v of volumes) {
      const root = await writeMap(v.base, v.changed, packer)
      records.push({ name: v.name, sizeBytes: v.sizeBytes, readOnly: v.readOnly, root })
    }
    for (const payload of packer.finish()) await writer.add(KIND.MAP, payload)
    await writer.flush()
    const record: VersionRecord = {
      ...meta,
      logs: await this.#logRefs(writer.next),
      volumes: records,
      state: stateRecord,
      bytesNew: this.bytesNew,
      bytesStored: bytesAhead + this.#packer.bytesStored + writer.bytesStored
    }
    const encoded = encodeVersion(record)
    const block = sealBlock(KIND.VERSION, encoded, log, writer.next, keys.meta, keyEpoch)
    return { record, id: versionId(encoded), block, at: writer.next }
  }

  /** Is the chunk stored on this device already? Then it gets that place. */
  #placeStored(leaf: MapLeaf, place: number, found: Places, index: number): boolean {
    const handle = found[index * 3]
    if (handle === 0) return false
    const log = this.#logs.numberOf(this.#sink.logOf(handle - 1))
    const block = found[index * 3 + 1]
    const slot = found[index * 3 + 2]
    leaf.refs[place] = packRef(log, slot)
    leaf.blocks[place] = block
    const ahead = log === this.#ownLog && block >= this.#since && block < this.#sink.firstBlock
    if (ahead && this.#ahead.add(block * SEGMENT_CHUNKS_MAX + slot)) this.bytesNew += CHUNK_BYTES
    return true
  }

  /** Gives a chunk a place: that of a moment ago, or the next free slot of the packer. */
  #store(
    leaf: MapLeaf,
    place: number,
    data: Buffer,
    offset: number,
    ids: Buffer,
    index: number
  ): Promise<void> | undefined {
    const recent = this.#recent
    if (recent.find(ids, index)) {
      leaf.blocks[place] = recent.block
      leaf.refs[place] = packRef(this.#ownLog, recent.slot)
      return undefined
    }
    const { block, slot } = this.#packer
    leaf.blocks[place] = block
    leaf.refs[place] = packRef(this.#ownLog, slot)
    recent.add(ids, index, block, slot)
    this.bytesNew += CHUNK_BYTES
    return this.#packer.add(data, offset, ids, index)
  }

  async #storeState(writer: MetaWriter, state: Buffer[]): Promise<StateRecord> {
    const firstBlock = writer.next
    let bytes = 0
    for (const piece of cut(state, STATE_PIECE_BYTES)) {
      bytes += piece.byteLength
      await writer.add(KIND.STATE, piece)
    }
    return { log: this.#ownLog, firstBlock, blocks: writer.next - firstBlock, bytes }
  }

  async #logRefs(ownLength: number): Promise<VersionRecord['logs']> {
    const keys = this.#logs.keys()
    const heads = await this.#sink.heads(keys)
    if (heads[this.#ownLog].length !== ownLength) {
      throw new HyperparcelError('COMMIT_STALE', 'Something else was written to the log meanwhile')
    }
    return keys.map((key, i) => ({ key, ...heads[i] }))
  }
}

function copyOf(leaf: MapLeaf): MapLeaf {
  const copy = emptyLeaf()
  copy.blocks.set(leaf.blocks)
  copy.refs.set(leaf.refs)
  return copy
}

/** Cuts a list of buffers into pieces of one size (the last may be shorter). */
function* cut(buffers: Buffer[], bytes: number): Generator<Buffer> {
  let piece = Buffer.allocUnsafeSlow(bytes)
  let filled = 0
  for (const buffer of buffers) {
    for (let at = 0; at < buffer.byteLength;) {
      const taken = buffer.copy(piece, filled, at)
      at += taken
      filled += taken
      if (filled < bytes) continue
      yield piece
      piece = Buffer.allocUnsafeSlow(bytes)
      filled = 0
    }
  }
  if (filled > 0) yield piece.subarray(0, filled)
}
