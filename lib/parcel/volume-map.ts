/**
 * The map of one volume of one version: chunk number → where its data is stored. A radix tree over leaves of
 * 1024 chunks, loaded node by node when needed; immutable once made.
 *
 * Loaded leaves are cached, the least recently used go first; a null reference is a subtree of zeros.
 */
import { HyperparcelError, assert } from '../base/errors.ts'
import { LOGS_PER_VERSION_MAX, MAP_FANOUT, MAP_LEAF_CHUNKS } from '../base/limits.ts'
import {
  decodeInner,
  decodeLeaf,
  emptyLeaf,
  type MapInner,
  type MapLeaf,
  type NodeRef
} from '../format/map.ts'

/** Gets the nodes of a map block of the version: opened, verified, decoded to their encoded nodes. Waits without limit. */
export type MapBlockLoader = (log: number, block: number) => Promise<Buffer[]>

/** 8 KiB each. */
const LEAVES_CACHED_MAX = 2048
/** Some 30 KiB each. */
const INNER_CACHED_MAX = 1024

const ZERO_LEAF: MapLeaf = emptyLeaf()

/** The leaf of 1024 zero chunks, shared: never write to it. */
export function isZeroLeaf(leaf: MapLeaf): boolean {
  return leaf === ZERO_LEAF
}

/** Inner levels above the leaves of a volume of that many chunks. */
export function mapHeight(chunks: number): number {
  let height = 0
  for (let reach = MAP_LEAF_CHUNKS; reach < chunks; reach *= MAP_FANOUT) height++
  return height
}

export class VolumeMap {
  readonly chunks: number
  readonly height: number
  readonly root: NodeRef | null
  readonly #load: MapBlockLoader
  readonly #logs: number
  readonly #leaves = new Map<number, MapLeaf>()
  readonly #inner = new Map<string, MapInner>()
  readonly #loading = new Map<number, Promise<MapLeaf>>()

  /** @param logs of the version: leaves that name others do not decode */
  constructor(
    chunks: number,
    root: NodeRef | null,
    load: MapBlockLoader,
    logs = LOGS_PER_VERSION_MAX
  ) {
    this.#logs = logs
    this.chunks = chunks
    this.height = mapHeight(chunks)
    this.root = root
    this.#load = load
  }

  get leaves(): number {
    return Math.ceil(this.chunks / MAP_LEAF_CHUNKS)
  }

  /** The leaf, when it is in memory or known to be all zeros. */
  leafIfLoaded(index: number): MapLeaf | undefined {
    if (this.root === null) return ZERO_LEAF
    const leaf = this.#leaves.get(index)
    if (leaf === undefined) return this.#knownZero(index) ? ZERO_LEAF : undefined
    if (this.#leaves.size > LEAVES_CACHED_MAX / 2) {
      this.#leaves.delete(index)
      this.#leaves.set(index, leaf)
    }
    return leaf
  }

  /** Does a node in memory say that there is nothing beneath it? */
  #knownZero(leaf: number): boolean {
    let index = leaf
    for (let level = 1; level <= this.height; level++) {
      const inner = this.#inner.get(`${level}/${Math.floor(index / MAP_FANOUT)}`)
      if (inner !== undefined) return inner[index % MAP_FANOUT] === null
      index = Math.floor(index / MAP_FANOUT)
    }
    return false
  }

  /** The leaf, fetched when it is not in memory. Concurrent calls share one fetch. */
  loadLeaf(index: number): Promise<MapLeaf> {
    const loaded = this.leafIfLoaded(index)
    if (loaded !== undefined) return Promise.resolve(loaded)
    let loading = this.#loading.get(index)
    if (loading === undefined) {
      loading = this.#fetchLeaf(index).finally(() => this.#loading.delete(index))
      this.#loading.set(index, loading)
    }
    return loading
  }

  /** Reference to a node: `level` 0 is a leaf; `index` counts nodes of that level. */
  async nodeRef(level: number, index: number): Promise<NodeRef | null> {
    assert(level <= this.height, 'a map node above the root')
    if (level === this.height) return this.root
    const parent = await this.innerNode(level + 1, Math.floor(index / MAP_FANOUT))
    return parent === null ? null : parent[index % MAP_FANOUT]
  }

  /** Children of an inner node; null where it is all zeros. */
  async innerNode(level: number, index: number): Promise<MapInner | null> {
    const name = `${level}/${index}`
    const cached = this.#inner.get(name)
    if (cached !== undefined) return cached
    const ref = await this.nodeRef(level, index)
    if (ref === null) return null
    const inner = decodeInner(await this.#node(ref))
    if (this.#inner.size >= INNER_CACHED_MAX) {
      this.#inner.delete(this.#inner.keys().next().value!)
    }
    this.#inner.set(name, inner)
    return inner
  }

  async #fetchLeaf(index: number): Promise<MapLeaf> {
    const ref = await this.nodeRef(0, index)
    if (ref === null) return ZERO_LEAF
    const leaf = decodeLeaf(await this.#node(ref), this.#logs)
    if (this.#leaves.size >= LEAVES_CACHED_MAX) {
      this.#leaves.delete(this.#leaves.keys().next().value!)
    }
    this.#leaves.set(index, leaf)
    return leaf
  }

  async #node(ref: NodeRef): Promise<Buffer> {
    const nodes = await this.#load(ref.log, ref.block)
    if (ref.slot >= nodes.length) {
      throw new HyperparcelError('FORMAT_INVALID', 'A map names a node that is not there')
    }
    return nodes[ref.slot]
  }

  /** Every (log, block) that stores a node of this map; all of them get loaded. */
  async *nodeRefs(): AsyncGenerator<NodeRef> {
    if (this.root === null) return
    yield this.root
    for (let level = this.height; level > 0; level--) {
      const count = Math.ceil(this.leaves / MAP_FANOUT ** level)
      for (let i = 0; i < count; i++) {
        const inner = await this.innerNode(level, i)
        if (inner !== null) for (const child of inner) if (child !== null) yield child
      }
    }
  }

  /** Leaves that hold data, in order: each is valid until the next one. Leaves the cache as it is. */
  async *dataLeaves(): AsyncGenerator<{ index: number; leaf: MapLeaf }> {
    if (this.root === null) return
    const scratch = emptyLeaf()
    for (let index = 0; index < this.leaves; index++) {
      if (this.height > 0 && index % MAP_FANOUT === 0) {
        if ((await this.innerNode(1, index / MAP_FANOUT)) === null) {
          index += MAP_FANOUT - 1
          continue
        }
      }
      const ref = await this.nodeRef(0, index)
      if (ref === null) continue
      const node = await this.#node(ref)
      scratch.refs.fill(0)
      scratch.blocks.fill(0)
      yield { index, leaf: decodeLeaf(node, this.#logs, scratch) }
    }
  }
}
