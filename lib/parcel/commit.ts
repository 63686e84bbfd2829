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
import { CHUNK_BYTES, CHUNK_ID_BYTES, MAP_LEAF_CHUNKS, SEGMENT_CHUNKS_MAX } from '../base/limits.ts'
import { isZeroChunk, writeChunkId } from '../chunk/ids.ts'
import { sealBlock } from '../chunk/sealed-block.ts'
import { encodeLeaf, emptyLeaf, packRef, refLog, refSlot, type MapLeaf } from '../format/map.ts'
import { KIND } from '../format/sealed.ts'
import {
  encodeVersion,
  versionId,
  type StateRecord,
  type VersionRecord,
  type VolumeRecord
} from '../format/version.ts'
import type { CommitSink } from './commit-sink.ts'
import type { LogTable } from './log-table.ts'
import { LEAF_ID_BYTES, MapPacker, leafHash, writeMap, type ChangedLeaf } from './map-writer.ts'
import { SegmentPacker } from './segment-packer.ts'
import type { VolumeMap } from './volume-map.ts'

/** Ids of chunks stored a moment ago, so that repeats within a commit are found before the index has them. */
const RECENT_MAX = 65_536
const STATE_PIECE_BYTES = 1024 * 1024
const SEGMENT_ID_BYTES = SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES

/** Changed chunks of one leaf. */
export interface LeafChange {
  /** Which leaf of the volume. */
  index: number
  /** Places within the leaf (0…1023), ascending, of the chunks in `data`. */
  places: number[]
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
}

export type CommitMeta = Pick<
  VersionRecord,
  'parcel' | 'number' | 'parent' | 'lease' | 'author' | 'time' | 'message' | 'cause' | 'machine'
>

export class Commit {
  readonly #sink: CommitSink
  readonly #dedupKey: Buffer
  readonly #logs: LogTable
  readonly #ownLog: number
  readonly #packer: SegmentPacker
  readonly #recent = new Map<string, number>()
  /** Unsealed bytes of chunks that were new. */
  bytesNew = 0

  /** @param logs the parent's table of logs; grows */
  constructor(sink: CommitSink, dedupKey: Buffer, logs: LogTable) {
    this.#sink = sink
    this.#dedupKey = dedupKey
    this.#logs = logs
    this.#ownLog = logs.numberOf(sink.log)
    this.#packer = new SegmentPacker(sink)
  }

  /** Stores the changes of one leaf. Leaves of one volume come in any order, each once. */
  async addLeaf(volume: VolumeCommit, change: LeafChange): Promise<void> {
    const leaf = await cloneLeaf(volume.base, change.index)
    const { data, places } = change
    const ids = Buffer.allocUnsafe(places.length * CHUNK_ID_BYTES)
    const zeros = [...change.zeros]
    const kept: number[] = []
    for (let i = 0; i < places.length; i++) {
      if (isZeroChunk(data, i * CHUNK_BYTES)) {
        zeros.push(places[i])
      } else {
        writeChunkId(ids, kept.length, data, i * CHUNK_BYTES, this.#dedupKey)
        kept.push(i)
      }
    }
    for (const place of zeros) leaf.refs[place] = leaf.blocks[place] = 0
    const leafIds = Buffer.alloc(LEAF_ID_BYTES)
    const changedPlaces = new Set(kept.map((i) => places[i]))
    const [found] = await Promise.all([
      kept.length === 0 ? null : this.#sink.lookup(ids.subarray(0, kept.length * CHUNK_ID_BYTES)),
      this.#fillUnchanged(leaf, changedPlaces, leafIds)
    ])
    for (let k = 0; k < kept.length; k++) {
      const place = places[kept[k]]
      ids.copy(leafIds, place * CHUNK_ID_BYTES, k * CHUNK_ID_BYTES, (k + 1) * CHUNK_ID_BYTES)
      if (found !== null && found[k * 3] !== 0) {
        const log = this.#logs.numberOf(this.#sink.logOf(found[k * 3] - 1))
        leaf.refs[place] = packRef(log, found[k * 3 + 2])
        leaf.blocks[place] = found[k * 3 + 1]
        continue
      }
      const full = this.#store(leaf, place, data, kept[k] * CHUNK_BYTES, ids, k)
      if (full !== undefined) await full
    }
    const zero = leaf.refs.every((ref) => ref === 0)
    volume.changed.set(change.index, {
      node: zero ? null : encodeLeaf(leaf),
      hash: leafHash(leafIds)
    })
  }

  /**
   * Appends what is left, the device state and the maps, and seals the version record.
   * @param state device state in pieces of any size, or null
   */
  async finish(
    meta: CommitMeta,
    volumes: VolumeCommit[],
    state: Buffer[] | null
  ): Promise<CommitResult> {
    await this.#packer.finish()
    const { log, keys, keyEpoch } = this.#sink
    let next = this.#packer.block
    const stateBlocks = (state === null ? [] : cut(state, STATE_PIECE_BYTES)).map((piece) =>
      sealBlock(KIND.STATE, piece, log, keys.meta, keyEpoch)
    )
    const stateRecord: StateRecord | null =
      state === null
        ? null
        : {
            log: this.#ownLog,
            firstBlock: next,
            blocks: stateBlocks.length,
            bytes: state.reduce((sum, piece) => sum + piece.byteLength, 0)
          }
    next += stateBlocks.length
    const packer = new MapPacker(this.#ownLog, next)
    const records: VolumeRecord[] = []
    for (const v of volumes) {
      const root = await writeMap(v.base, v.changed, packer)
      records.push({ name: v.name, sizeBytes: v.sizeBytes, readOnly: v.readOnly, root })
    }
    const mapBlocks = packer
      .finish()
      .map((payload) => sealBlock(KIND.MAP, payload, log, keys.meta, keyEpoch))
    next += mapBlocks.length
    let bytesStored = this.#packer.bytesStored
    for (const block of [...stateBlocks, ...mapBlocks]) {
      bytesStored += block.byteLength
      await this.#sink.append([block], [null])
    }
    const record: VersionRecord = {
      ...meta,
      logs: await this.#logRefs(next),
      volumes: records,
      state: stateRecord,
      bytesNew: this.bytesNew,
      bytesStored
    }
    const encoded = encodeVersion(record)
    const block = sealBlock(KIND.VERSION, encoded, log, keys.meta, keyEpoch)
    return { record, id: versionId(encoded), block }
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
    const name = ids.toString('latin1', index * CHUNK_ID_BYTES, index * CHUNK_ID_BYTES + 16)
    const recent = this.#recent.get(name)
    if (recent !== undefined) {
      leaf.blocks[place] = Math.floor(recent / SEGMENT_CHUNKS_MAX)
      leaf.refs[place] = packRef(this.#ownLog, recent % SEGMENT_CHUNKS_MAX)
      return undefined
    }
    const { block, slot } = this.#packer
    leaf.blocks[place] = block
    leaf.refs[place] = packRef(this.#ownLog, slot)
    if (this.#recent.size >= RECENT_MAX) {
      this.#recent.delete(this.#recent.keys().next().value!)
    }
    this.#recent.set(name, block * SEGMENT_CHUNKS_MAX + slot)
    this.bytesNew += CHUNK_BYTES
    return this.#packer.add(data, offset, ids, index)
  }

  /** The content hash covers unchanged chunks too: their ids come from the segments that hold them. */
  async #fillUnchanged(leaf: MapLeaf, changed: Set<number>, leafIds: Buffer): Promise<void> {
    const wanted = new Map<string, { log: Buffer; block: number; places: number[] }>()
    for (let place = 0; place < MAP_LEAF_CHUNKS; place++) {
      const ref = leaf.refs[place]
      if (ref === 0 || changed.has(place)) continue
      const name = `${refLog(ref)}/${leaf.blocks[place]}`
      let segment = wanted.get(name)
      if (segment === undefined) {
        segment = { log: this.#logs.keyOf(refLog(ref)), block: leaf.blocks[place], places: [] }
        wanted.set(name, segment)
      }
      segment.places.push(place)
    }
    if (wanted.size === 0) return
    const segments = [...wanted.values()]
    const ids = await this.#sink.idsOf(segments)
    for (let s = 0; s < segments.length; s++) {
      for (const place of segments[s].places) {
        const at = s * SEGMENT_ID_BYTES + refSlot(leaf.refs[place]) * CHUNK_ID_BYTES
        ids.copy(leafIds, place * CHUNK_ID_BYTES, at, at + CHUNK_ID_BYTES)
      }
    }
  }

  async #logRefs(ownLength: number): Promise<VersionRecord['logs']> {
    const refs: VersionRecord['logs'] = []
    for (const key of this.#logs.keys()) {
      const own = key.equals(this.#sink.log)
      const length = own ? ownLength : await this.#sink.lengthOf(key)
      refs.push({ key, length, treeHash: await this.#sink.treeHash(key, length) })
    }
    return refs
  }
}

async function cloneLeaf(map: VolumeMap, index: number): Promise<MapLeaf> {
  const old = await map.loadLeaf(index)
  const leaf = emptyLeaf()
  leaf.blocks.set(old.blocks)
  leaf.refs.set(old.refs)
  return leaf
}

/** Cuts a list of buffers into pieces of one size (the last may be shorter). */
function cut(buffers: Buffer[], bytes: number): Buffer[] {
  const all = Buffer.concat(buffers)
  const pieces: Buffer[] = []
  for (let at = 0; at < all.byteLength; at += bytes) pieces.push(all.subarray(at, at + bytes))
  return pieces
}
