/**
 * The closure of a version: every block that it needs, log by log. Who has all of it holds a replica.
 */
import { refLog } from '../format/map.ts'
import type { VersionReader } from './version-reader.ts'

/** Sets of block indexes by log number. */
export class Closure {
  readonly #blocks = new Map<number, Set<number>>()

  add(log: number, block: number): void {
    let blocks = this.#blocks.get(log)
    if (blocks === undefined) this.#blocks.set(log, (blocks = new Set()))
    blocks.add(block)
  }

  /** Blocks of each log, ascending. */
  *entries(): Generator<{ log: number; blocks: number[] }> {
    for (const [log, blocks] of this.#blocks) {
      yield { log, blocks: [...blocks].sort((a, b) => a - b) }
    }
  }

  get count(): number {
    let count = 0
    for (const blocks of this.#blocks.values()) count += blocks.size
    return count
  }
}

/** What to leave out: a successor of a running VM needs neither its old device state nor its record. */
export interface ClosureOptions {
  withoutState?: boolean
}

/** Walks all maps; loads every map node through the reader (which fetches what is missing). */
export async function closureOf(
  version: VersionReader,
  opts: ClosureOptions = {}
): Promise<Closure> {
  const closure = new Closure()
  const { state, volumes } = version.record
  if (state !== null && opts.withoutState !== true) {
    for (let i = 0; i < state.blocks; i++) closure.add(state.log, state.firstBlock + i)
  }
  for (const volume of volumes) {
    const map = version.map(volume.name)
    for await (const ref of map.nodeRefs()) closure.add(ref.log, ref.block)
    for await (const { leaf } of map.dataLeaves()) {
      for (let i = 0; i < leaf.refs.length; i++) {
        if (leaf.refs[i] !== 0) closure.add(refLog(leaf.refs[i]), leaf.blocks[i])
      }
    }
  }
  return closure
}
