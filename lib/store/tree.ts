/** Merkle trees of logs as Hypercore has them: even numbers are blocks, a parent lies between its children. */
import sodium from 'sodium-universal'
import type { TreeNode } from './ports.ts'

const LEAF = Buffer.from([0])
const PARENT = Buffer.from([1])

/** First block and number of blocks of each root of a tree of that many blocks, in order. */
export function* rootSpans(length: number): Generator<{ start: number; blocks: number }> {
  let blocks = 1
  while (blocks * 2 <= length) blocks *= 2
  for (let start = 0; start < length; start += blocks) {
    while (start + blocks > length) blocks /= 2
    yield { start, blocks }
  }
}

/** First block beneath a node. */
export function firstBlock(index: number): number {
  let reach = 0
  for (let at = index; at % 2 === 1; at = (at - 1) / 2) reach = 2 * reach + 1
  return (index - reach) / 2
}

/** Roots of a tree of that many blocks out of nodes that make them up; null where some are missing. */
export function rootsFrom(nodes: TreeNode[], length: number): TreeNode[] | null {
  const known = new Map(nodes.map((node) => [node.index, node]))
  const roots: TreeNode[] = []
  for (const { start, blocks } of rootSpans(length)) {
    const root = find(known, 2 * start + blocks - 1, blocks)
    if (root === null) return null
    roots.push(root)
  }
  return roots
}

/** The node of a block. */
export function leafOf(block: number, data: Buffer): TreeNode {
  return { index: 2 * block, size: data.byteLength, hash: hashOf(LEAF, data.byteLength, data) }
}

export function parentOf(left: TreeNode, right: TreeNode): TreeNode {
  const size = left.size + right.size
  const hash = hashOf(PARENT, size, left.hash, right.hash)
  return { index: (left.index + right.index) / 2, size, hash }
}

/** Number of the node above `2^depth` blocks that begin with block `offset × 2^depth`. */
export function nodeIndex(depth: number, offset: number): number {
  return offset * 2 ** (depth + 1) + 2 ** depth - 1
}

function hashOf(type: Buffer, size: number, ...parts: Buffer[]): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(size))
  const hash = Buffer.alloc(32)
  sodium.crypto_generichash_batch(hash, [type, bytes, ...parts])
  return hash
}

function find(known: Map<number, TreeNode>, index: number, blocks: number): TreeNode | null {
  const node = known.get(index)
  if (node !== undefined) return node
  if (blocks === 1) return null
  const left = find(known, index - blocks / 2, blocks / 2)
  const right = left && find(known, index + blocks / 2, blocks / 2)
  return right && parentOf(left, right)
}
