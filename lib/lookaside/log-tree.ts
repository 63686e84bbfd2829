/**
 * What a stick knows of one log: its signed length, where blocks lie, and of the tree over them at least the way from
 * each block to a root, with what stands beside it. Out of that it proves blocks and lengths as a peer would.
 */
import { HyperparcelError } from '../base/errors.ts'
import type { StickBlock, StickLog } from '../format/stick.ts'
import type { TreeNode } from '../store/ports.ts'
import { leafOf, nodeIndex, parentOf } from '../store/tree.ts'

export class LogTree {
  readonly number: number
  readonly key: Buffer
  length = 0
  signature: Buffer = Buffer.alloc(0)
  manifest: Buffer = Buffer.alloc(0)
  readonly blocks = new Map<number, StickBlock>()
  readonly nodes = new Map<number, TreeNode>()

  constructor(number: number, key: Buffer) {
    this.number = number
    this.key = key
  }

  head(): StickLog {
    const { number, key, length, signature, manifest } = this
    return { number, key, length, signature, manifest }
  }

  /** The longest head counts. */
  take({ length, signature, manifest }: Omit<StickLog, 'number' | 'key'>): void {
    if (length <= this.length) return
    this.length = length
    this.signature = Buffer.from(signature)
    this.manifest = Buffer.from(manifest)
  }

  /** Throws `DATA_CORRUPT` where another one was known there. */
  put({ index, size, hash }: TreeNode): void {
    const known = this.nodes.get(index)
    if (known === undefined) this.nodes.set(index, { index, size, hash: Buffer.from(hash) })
    else if (known.size !== size || !known.hash.equals(hash)) throw contradicts()
  }

  /**
   * Takes a block's proof in: all nodes on the way up. `data` null: its own node is known. Throws `DATA_CORRUPT` where it
   * does not lead to what is known.
   */
  putPath(block: number, data: Buffer | null, beside: TreeNode[]): TreeNode[] {
    const leaf = data === null ? this.nodes.get(2 * block) : leafOf(block, data)
    if (leaf === undefined) throw contradicts()
    const path: TreeNode[] = [leaf]
    let node = leaf
    for (const sibling of beside) {
      const [left, right] = sibling.index < node.index ? [sibling, node] : [node, sibling]
      node = parentOf(left, right)
      path.push(sibling, node)
    }
    if (this.nodes.get(node.index)?.hash.equals(node.hash) !== true) throw contradicts()
    const fresh = path.filter(({ index }) => !this.nodes.has(index))
    for (const each of path) this.put(each)
    return fresh
  }

  /** Is it the block that was signed? */
  fits(block: number, data: Buffer): boolean {
    const known = this.nodes.get(2 * block)
    return known !== undefined && leafOf(block, data).hash.equals(known.hash)
  }

  /** What stands beside the way up from a block: `levels` of them, fewer where the stick knows no more. */
  beside(block: number, levels: number): TreeNode[] {
    const nodes: TreeNode[] = []
    for (let depth = 0, offset = block; depth < levels; depth++) {
      const sibling = this.nodes.get(nodeIndex(depth, offset % 2 === 0 ? offset + 1 : offset - 1))
      if (sibling === undefined) break
      nodes.push(sibling)
      offset = Math.floor(offset / 2)
    }
    return nodes
  }

  /** What makes a tree of `from` blocks one of `length`; null where some of it is not known. */
  cover(from: number): TreeNode[] | null {
    if (from >= this.length) return null
    const nodes: TreeNode[] = []
    for (let at = from; at < this.length;) {
      let depth = 0
      while (at % 2 ** (depth + 1) === 0 && at + 2 ** (depth + 1) <= this.length) depth++
      const node = this.nodes.get(nodeIndex(depth, at / 2 ** depth))
      if (node === undefined) return null
      nodes.push(node)
      at += 2 ** depth
    }
    return nodes
  }

  /** Start and count of each run of blocks. */
  runs(): [number, number][] {
    const runs: [number, number][] = []
    for (const index of [...this.blocks.keys()].sort((a, b) => a - b)) {
      const last = runs.at(-1)
      if (last !== undefined && last[0] + last[1] === index) last[1]++
      else runs.push([index, 1])
    }
    return runs
  }
}

function contradicts(): HyperparcelError {
  return new HyperparcelError('DATA_CORRUPT', 'A block does not fit the tree of its log', {
    hint: '`hyperparcel verify --repair` finds bad blocks and fetches good ones.'
  })
}
