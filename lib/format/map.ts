/**
 * Byte layout of map blocks. A map block holds several nodes of the maps of one version, packed together so
 * that a resume needs few round trips. A node is named by (log number, block, slot in the block).
 *
 * Leaf: runs that tile its 1024 chunks. Inner node: up to 256 children. See `README.md` for the bytes.
 */
import * as c from 'compact-encoding'
import type { State } from 'compact-encoding'
import { HyperparcelError } from '../base/errors.ts'
import {
  LOGS_PER_VERSION_MAX,
  MAP_FANOUT,
  MAP_LEAF_CHUNKS,
  SEGMENT_CHUNKS_MAX
} from '../base/limits.ts'

/** A map block's payload at most, before compression. */
export const MAP_BLOCK_BYTES_MAX = 1024 * 1024
/** Nodes are packed into blocks of about this size. */
export const MAP_BLOCK_BYTES = 64 * 1024
export const NODES_PER_BLOCK_MAX = 4096

/** Where a node is stored, and the hash of the chunk ids beneath it. */
export interface NodeRef {
  log: number
  block: number
  slot: number
  /** 32 bytes, independent of where anything is stored. */
  hash: Buffer
}

/**
 * 1024 chunk locations. `refs[i]` is 0 for a zero chunk, else (log number + 1) × 16 + slot; `blocks[i]` is the
 * block of that log.
 */
export interface MapLeaf {
  blocks: Uint32Array
  refs: Uint32Array
}

export function emptyLeaf(): MapLeaf {
  return {
    blocks: new Uint32Array(MAP_LEAF_CHUNKS),
    refs: new Uint32Array(MAP_LEAF_CHUNKS)
  }
}

export const packRef = (log: number, slot: number): number => (log + 1) * 16 + slot
export const refLog = (ref: number): number => (ref >>> 4) - 1
export const refSlot = (ref: number): number => ref & 15

/** A leaf as bytes: runs of zero chunks and runs that walk through slots and, after slot 15, to the next block. */
export function encodeLeaf(leaf: MapLeaf): Buffer {
  const state = c.state()
  const runs: number[] = []
  let i = 0
  while (i < MAP_LEAF_CHUNKS) {
    const n = runLength(leaf, i)
    runs.push(i, n)
    i += n
  }
  c.uint.preencode(state, runs.length / 2)
  for (let r = 0; r < runs.length; r += 2) codeRun(state, leaf, runs[r], runs[r + 1], true)
  state.buffer = Buffer.allocUnsafe(state.end)
  c.uint.encode(state, runs.length / 2)
  for (let r = 0; r < runs.length; r += 2) codeRun(state, leaf, runs[r], runs[r + 1], false)
  return state.buffer as Buffer
}

function runLength(leaf: MapLeaf, start: number): number {
  const { blocks, refs } = leaf
  let i = start + 1
  if (refs[start] === 0) {
    while (i < MAP_LEAF_CHUNKS && refs[i] === 0) i++
    return i - start
  }
  let block = blocks[start]
  let ref = refs[start]
  while (i < MAP_LEAF_CHUNKS) {
    if ((ref & 15) === SEGMENT_CHUNKS_MAX - 1) {
      ref -= SEGMENT_CHUNKS_MAX - 1
      block++
    } else {
      ref++
    }
    if (refs[i] !== ref || blocks[i] !== block) break
    i++
  }
  return i - start
}

function codeRun(
  state: State,
  leaf: MapLeaf,
  start: number,
  count: number,
  measure: boolean
): void {
  const uint = measure ? c.uint.preencode : c.uint.encode
  uint(state, count)
  const ref = leaf.refs[start]
  uint(state, ref)
  if (ref !== 0) uint(state, leaf.blocks[start])
}

/**
 * The inverse of `encodeLeaf`. Throws `FORMAT_INVALID` unless the runs tile the leaf exactly.
 * @param logs logs that there are
 * @param leaf all zeros; what it is decoded into
 */
export function decodeLeaf(
  buffer: Buffer,
  logs = LOGS_PER_VERSION_MAX,
  leaf = emptyLeaf()
): MapLeaf {
  decodeSafely('map leaf', buffer, (state) => {
    const runs = c.uint.decode(state)
    let at = 0
    for (let r = 0; r < runs; r++) {
      const count = c.uint.decode(state)
      let ref = c.uint.decode(state)
      if (count === 0 || at + count > MAP_LEAF_CHUNKS || ref >= (logs + 1) * 16) {
        throw invalid('map leaf')
      }
      if (ref === 0) {
        at += count
        continue
      }
      if (ref < 16) throw invalid('map leaf')
      let block = c.uint.decode(state)
      for (let i = 0; i < count; i++, at++) {
        if (block > 0xffff_ffff) throw invalid('map leaf')
        leaf.refs[at] = ref
        leaf.blocks[at] = block
        if ((ref & 15) === SEGMENT_CHUNKS_MAX - 1) {
          ref -= SEGMENT_CHUNKS_MAX - 1
          block++
        } else {
          ref++
        }
      }
    }
    if (at !== MAP_LEAF_CHUNKS) throw invalid('map leaf')
  })
  return leaf
}

/** Children of an inner node; null where everything beneath is zero. */
export type MapInner = (NodeRef | null)[]

export function encodeInner(children: MapInner): Buffer {
  const state = c.state()
  const present = children.flatMap((child, index) => (child === null ? [] : [{ index, child }]))
  const code = (part: 'preencode' | 'encode') => {
    c.uint[part](state, present.length)
    for (const { index, child } of present) {
      c.uint[part](state, index)
      codeNodeRef[part](state, child)
    }
  }
  code('preencode')
  state.buffer = Buffer.allocUnsafe(state.end)
  code('encode')
  return state.buffer as Buffer
}

export function decodeInner(buffer: Buffer): MapInner {
  const children: MapInner = new Array<NodeRef | null>(MAP_FANOUT).fill(null)
  decodeSafely('map node', buffer, (state) => {
    const present = c.uint.decode(state)
    let last = -1
    for (let i = 0; i < present; i++) {
      const index = c.uint.decode(state)
      if (index <= last || index >= MAP_FANOUT) throw invalid('map node')
      children[index] = codeNodeRef.decode(state)
      last = index
    }
  })
  return children
}

/** compact-encoding of a `NodeRef`. */
export const codeNodeRef = {
  preencode(state: State, ref: NodeRef) {
    c.uint.preencode(state, ref.log)
    c.uint.preencode(state, ref.block)
    c.uint.preencode(state, ref.slot)
    c.fixed32.preencode(state, ref.hash)
  },
  encode(state: State, ref: NodeRef) {
    c.uint.encode(state, ref.log)
    c.uint.encode(state, ref.block)
    c.uint.encode(state, ref.slot)
    c.fixed32.encode(state, ref.hash)
  },
  decode(state: State): NodeRef {
    const log = c.uint.decode(state)
    const block = c.uint.decode(state)
    const slot = c.uint.decode(state)
    if (log >= LOGS_PER_VERSION_MAX || block > 0xffff_ffff || slot >= NODES_PER_BLOCK_MAX) {
      throw invalid('map node reference')
    }
    return { log, block, slot, hash: Buffer.from(c.fixed32.decode(state)) }
  }
}

/** Several nodes as the payload of one map block. */
export function encodeMapBlock(nodes: Buffer[]): Buffer {
  const state = c.state()
  c.uint.preencode(state, nodes.length)
  for (const node of nodes) c.buffer.preencode(state, node)
  state.buffer = Buffer.allocUnsafe(state.end)
  c.uint.encode(state, nodes.length)
  for (const node of nodes) c.buffer.encode(state, node)
  return state.buffer as Buffer
}

export function decodeMapBlock(payload: Buffer): Buffer[] {
  const nodes: Buffer[] = []
  decodeSafely('map block', payload, (state) => {
    const count = c.uint.decode(state)
    if (count > NODES_PER_BLOCK_MAX) throw invalid('map block')
    for (let i = 0; i < count; i++) {
      const node = c.buffer.decode(state)
      if (node === null) throw invalid('map block')
      nodes.push(node as Buffer)
    }
  })
  return nodes
}

/** Runs a decoder over all of `buffer`; running out of bytes or leaving some is `FORMAT_INVALID`. */
export function decodeSafely<T>(what: string, buffer: Buffer, decode: (state: State) => T): T {
  const state = { start: 0, end: buffer.byteLength, buffer } as State
  let value: T
  try {
    value = decode(state)
  } catch (err) {
    if (err instanceof HyperparcelError) throw err
    throw invalid(what, err)
  }
  if (state.start !== state.end) throw invalid(what)
  return value
}

function invalid(what: string, cause?: unknown): HyperparcelError {
  return new HyperparcelError('FORMAT_INVALID', `A ${what} does not decode`, { cause })
}
