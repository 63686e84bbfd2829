/**
 * Maps of versions, written anew where they name chunks that moved: the same content in other places.
 *
 * Invariants
 * - Only nodes above a chunk that moved are written, each once, however many versions share it; all others are
 *   referenced where they are.
 * - Every node keeps its content hash, and a leaf is written only after it was checked against it, with the ids that
 *   the segments at the new places have.
 * - Versions that share nodes go on sharing them, so they get one table of logs: numbers of logs in a node mean the
 *   same in all of them. A version whose table is the beginning of a longer one gets that one.
 */
import { HyperparcelError } from '../base/errors.ts'
import { CHUNK_BYTES, LOGS_PER_VERSION_MAX, SEGMENT_CHUNKS_MAX } from '../base/limits.ts'
import {
  NODES_PER_BLOCK_MAX,
  decodeInner,
  decodeLeaf,
  encodeInner,
  encodeLeaf,
  packRef,
  refLog,
  refSlot,
  type NodeRef
} from '../format/map.ts'
import type { LogRef, VersionRecord } from '../format/version.ts'
import type { CommitSink } from './commit-sink.ts'
import { fillLeafIds } from './leaf-ids.ts'
import type { MapNodes } from './map-nodes.ts'
import { LEAF_ID_BYTES, leafHash, type MapPacker } from './map-writer.ts'
import type { MovedChunks, MovedFrom } from './moved-chunks.ts'
import { mapHeight } from './volume-map.ts'

/** Versions with one table of logs. */
interface Group {
  logs: LogRef[]
  /** Number of the log with the new places. */
  own: number
  moved: (MovedFrom | null)[]
  /** By log, by number of the node in it; null where it stays. */
  done: Map<number, NodeRef | null>[]
}

export interface Reissued {
  logs: LogRef[]
  /** Number of the log with the new places. */
  own: number
  roots: (NodeRef | null)[]
}

export interface ReissueOptions {
  nodes: MapNodes
  moved: MovedChunks
  packer: MapPacker
  sink: Pick<CommitSink, 'idsOf'>
  /** Called for each node. */
  ontick(): void
}

export class Reissue {
  readonly #opts: ReissueOptions
  readonly #groups: Group[] = []

  /** @param records of all versions that will be issued anew */
  constructor(opts: ReissueOptions, records: VersionRecord[]) {
    this.#opts = opts
    const tables = records.map(({ logs }) => logs).sort((a, b) => b.length - a.length)
    for (const logs of tables) {
      if (!this.#groups.some((group) => beginsWith(group.logs, logs))) this.#addGroup(logs)
    }
  }

  /**
   * New roots of the version's volumes, in order, and the table of logs that they count in; length and hash of the log
   * with the new places are not known before all is written. Null where nothing of it moved.
   */
  async version(record: VersionRecord): Promise<Reissued | null> {
    const group = this.#groups.find(({ logs }) => beginsWith(logs, record.logs))
    if (group === undefined) return null
    const roots: (NodeRef | null)[] = []
    for (const { root, sizeBytes } of record.volumes) {
      const level = mapHeight(Math.ceil(sizeBytes / CHUNK_BYTES))
      roots.push(root === null ? null : await this.#node(group, root, level))
    }
    if (roots.every((root, i) => root === record.volumes[i].root)) return null
    return { logs: group.logs, own: group.own, roots }
  }

  /** The node's new place; the same object where it stays. */
  async #node(group: Group, ref: NodeRef, level: number): Promise<NodeRef> {
    const name = ref.block * NODES_PER_BLOCK_MAX + ref.slot
    const known = group.done[ref.log].get(name)
    if (known !== undefined) return known ?? ref
    this.#opts.ontick()
    const node = await this.#opts.nodes.read(group.logs[ref.log].key, ref)
    if (node === null) {
      throw new HyperparcelError('DATA_UNREACHABLE', 'A part of a map is not stored here')
    }
    const written =
      level === 0 ? await this.#leaf(group, node, ref) : await this.#inner(group, node, ref, level)
    group.done[ref.log].set(name, written === ref ? null : written)
    return written
  }

  async #inner(group: Group, node: Buffer, ref: NodeRef, level: number): Promise<NodeRef> {
    const children = decodeInner(node)
    let changed = false
    for (const [i, child] of children.entries()) {
      if (child === null) continue
      if (child.log >= group.logs.length) throw noSuchLog()
      children[i] = await this.#node(group, child, level - 1)
      if (children[i] !== child) changed = true
    }
    return changed ? this.#write(group, encodeInner(children), ref) : ref
  }

  async #leaf(group: Group, node: Buffer, ref: NodeRef): Promise<NodeRef> {
    const leaf = decodeLeaf(node, group.logs.length)
    const { refs, blocks } = leaf
    let changed = false
    for (let i = 0; i < refs.length; i++) {
      if (refs[i] === 0) continue
      const place = group.moved[refLog(refs[i])]?.find(blocks[i], refSlot(refs[i])) ?? -1
      if (place === -1) continue
      refs[i] = packRef(group.own, place % SEGMENT_CHUNKS_MAX)
      blocks[i] = Math.floor(place / SEGMENT_CHUNKS_MAX)
      changed = true
    }
    if (!changed) return ref
    const ids = Buffer.alloc(LEAF_ID_BYTES)
    await fillLeafIds(leaf, ids, (log) => group.logs[log].key, this.#opts.sink)
    if (!leafHash(ids).equals(ref.hash)) {
      throw new HyperparcelError('DATA_CORRUPT', 'A map leaf has another content hash')
    }
    return this.#write(group, encodeLeaf(leaf), ref)
  }

  #write(group: Group, node: Buffer, { hash }: NodeRef): NodeRef {
    return { ...this.#opts.packer.add(node, hash), log: group.own }
  }

  #addGroup(table: LogRef[]): void {
    const { moved } = this.#opts
    const logs = [...table]
    let own = logs.findIndex(({ key }) => key.equals(moved.log))
    if (own === -1) own = logs.push({ key: moved.log, length: 0, treeHash: Buffer.alloc(32) }) - 1
    if (logs.length > LOGS_PER_VERSION_MAX) return
    this.#groups.push({
      logs,
      own,
      moved: logs.map(({ key }) => moved.of(key)),
      done: logs.map(() => new Map<number, NodeRef | null>())
    })
  }
}

function beginsWith(logs: LogRef[], start: LogRef[]): boolean {
  return start.length <= logs.length && start.every(({ key }, i) => logs[i].key.equals(key))
}

function noSuchLog(): HyperparcelError {
  return new HyperparcelError('FORMAT_INVALID', 'A map names a log that is not there')
}
