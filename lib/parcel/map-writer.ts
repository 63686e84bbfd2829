/**
 * Makes the map of a new version out of the map of its parent and the leaves that changed. Unchanged subtrees
 * are referenced where they are.
 */
import sodium from 'sodium-universal'
import { CHUNK_ID_BYTES, MAP_FANOUT, MAP_LEAF_CHUNKS } from '../base/limits.ts'
import {
  MAP_BLOCK_BYTES,
  NODES_PER_BLOCK_MAX,
  encodeInner,
  encodeMapBlock,
  type MapInner,
  type NodeRef
} from '../format/map.ts'
import type { VolumeMap } from './volume-map.ts'

/** A leaf that changed: its encoded node, or null when all of it is zero now. */
export interface ChangedLeaf {
  node: Buffer | null
  /** Content hash, 32 bytes; ignored for null. */
  hash: Buffer
}

/** Packs nodes into map blocks whose log indexes are known beforehand: `firstBlock`, `firstBlock + 1`, … */
export class MapPacker {
  readonly #log: number
  readonly #firstBlock: number
  #full: Buffer[] = []
  #closed = 0
  #nodes: Buffer[] = []
  #bytes = 0

  constructor(log: number, firstBlock: number) {
    this.#log = log
    this.#firstBlock = firstBlock
  }

  add(node: Buffer, hash: Buffer): NodeRef {
    if (
      this.#nodes.length > 0 &&
      (this.#bytes + node.byteLength > MAP_BLOCK_BYTES || this.#nodes.length >= NODES_PER_BLOCK_MAX)
    ) {
      this.#close()
    }
    this.#bytes += node.byteLength
    this.#nodes.push(node)
    return {
      log: this.#log,
      block: this.#firstBlock + this.#closed,
      slot: this.#nodes.length - 1,
      hash
    }
  }

  /** Payloads of the map blocks that were not taken yet, in the order of their log indexes. */
  finish(): Buffer[] {
    if (this.#nodes.length > 0) this.#close()
    return this.take()
  }

  /** Payloads of the map blocks that are full, each once. */
  take(): Buffer[] {
    const full = this.#full
    this.#full = []
    return full
  }

  #close(): void {
    this.#full.push(encodeMapBlock(this.#nodes))
    this.#closed++
    this.#nodes = []
    this.#bytes = 0
  }
}

/**
 * The root of the new map; null when the volume is all zeros. Adds the new nodes to the packer, children first; nodes
 * with the content that they had are referenced where they are.
 */
export async function writeMap(
  base: VolumeMap,
  changed: Map<number, ChangedLeaf>,
  packer: MapPacker
): Promise<NodeRef | null> {
  if (changed.size === 0) return base.root
  let level = new Map<number, NodeRef | null>()
  for (const index of [...changed.keys()].sort((a, b) => a - b)) {
    const { node, hash } = changed.get(index)!
    const old = await base.nodeRef(0, index)
    level.set(index, node === null ? null : (sameContent(old, hash) ?? packer.add(node, hash)))
  }
  for (let height = 1; height <= base.height; height++) {
    const parents = new Map<number, MapInner>()
    for (const [index, ref] of level) {
      const parentIndex = Math.floor(index / MAP_FANOUT)
      let children = parents.get(parentIndex)
      if (children === undefined) {
        const old = await base.innerNode(height, parentIndex)
        children = old === null ? new Array<null>(MAP_FANOUT).fill(null) : old.slice()
        parents.set(parentIndex, children)
      }
      children[index % MAP_FANOUT] = ref
    }
    level = new Map()
    for (const [index, children] of parents) {
      const zero = children.every((child) => child === null)
      const hash = innerHash(children)
      const old = await base.nodeRef(height, index)
      level.set(
        index,
        zero ? null : (sameContent(old, hash) ?? packer.add(encodeInner(children), hash))
      )
    }
  }
  return level.get(0) ?? null
}

function sameContent(old: NodeRef | null, hash: Buffer): NodeRef | null {
  return old !== null && old.hash.equals(hash) ? old : null
}

/** Content hash of a leaf from the ids of its 1024 chunks; zero chunks count as 32 zero bytes. */
export function leafHash(ids: Buffer): Buffer {
  const hash = Buffer.allocUnsafeSlow(32)
  sodium.crypto_generichash(hash, ids)
  return hash
}

export const LEAF_ID_BYTES = MAP_LEAF_CHUNKS * CHUNK_ID_BYTES

/** Content hash of an inner node, from those of its children. */
export function innerHash(children: MapInner): Buffer {
  const hashes = Buffer.alloc(MAP_FANOUT * 32)
  for (let i = 0; i < children.length; i++) children[i]?.hash.copy(hashes, i * 32)
  const hash = Buffer.allocUnsafeSlow(32)
  sodium.crypto_generichash(hash, hashes)
  return hash
}
