/**
 * Which nodes of a log's Merkle tree are stored here, as far as this process noticed. A request must say how many
 * nodes lie between its block and the first ancestor that is known here; asking the store costs a read for each
 * level, and asking for a few nodes too many costs 40 bytes each. The roots of the signed length are always known.
 *
 * A node is (depth, offset): leaf i is (0, i), its parent (1, ⌊i/2⌋).
 */
const NODES_MAX = 200_000

export class KnownNodes {
  /** Numbered as in Hypercore's flat tree. */
  readonly #known = new Set<number>()

  /** Levels from block `index` up to its first ancestor that is known in a log of `length` blocks. */
  missing(index: number, length: number): number {
    let depth = 0
    let offset = index
    while (!this.#known.has(flatIndex(depth, offset))) {
      const parent = Math.floor(offset / 2)
      // Beyond a root there is no complete node.
      if ((parent + 1) * 2 ** (depth + 1) > length) break
      depth++
      offset = parent
    }
    return depth
  }

  /** A block arrived with the proof of that many levels: all nodes on the way and beside it are stored. */
  add(index: number, levels: number): void {
    if (this.#known.size > NODES_MAX) this.#known.clear()
    let offset = index
    for (let depth = 0; depth < levels; depth++) {
      this.#known.add(flatIndex(depth, offset))
      this.#known.add(flatIndex(depth, offset % 2 === 0 ? offset + 1 : offset - 1))
      offset = Math.floor(offset / 2)
    }
    this.#known.add(flatIndex(levels, offset))
  }
}

function flatIndex(depth: number, offset: number): number {
  return offset * 2 ** (depth + 1) + 2 ** depth - 1
}
