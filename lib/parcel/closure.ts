/**
 * The closure of a version: every block that it needs, log by log. Who has all of it holds a replica.
 */
import { CHUNK_BYTES } from '../base/limits.ts'
import { refLog, type MapLeaf } from '../format/map.ts'
import type { VersionReader } from './version-reader.ts'

/** Block indexes by log number, with the chunks that the version uses of each (0 for maps and device state). */
export class Closure {
  readonly logs = new Map<number, Map<number, number>>()
  /** Bytes of chunks and device state that the version consists of, zero chunks left out. */
  bytes = 0

  add(log: number, block: number, chunks: number): void {
    let blocks = this.logs.get(log)
    if (blocks === undefined) this.logs.set(log, (blocks = new Map()))
    blocks.set(block, (blocks.get(block) ?? 0) + chunks)
    this.bytes += chunks * CHUNK_BYTES
  }

  /** Number of blocks. */
  get count(): number {
    let count = 0
    for (const blocks of this.logs.values()) count += blocks.size
    return count
  }
}

export interface ClosureOptions {
  /** Leaves out device state: a successor of a running VM does not need it. */
  withoutState?: boolean
  /** Leaves out guest RAM and device state: what a version that boots from the same disks needs. */
  withoutMemory?: boolean
}

/** Walks all maps; loads every map node through the reader (which fetches what is missing). */
export async function closureOf(
  version: VersionReader,
  opts: ClosureOptions = {}
): Promise<Closure> {
  const closure = new Closure()
  const { state, volumes } = version.record
  if (state !== null && opts.withoutState !== true && opts.withoutMemory !== true) {
    for (let i = 0; i < state.blocks; i++) closure.add(state.log, state.firstBlock + i, 0)
    closure.bytes += state.bytes
  }
  for (const volume of volumes) {
    if (volume.name === 'memory' && opts.withoutMemory === true) continue
    const map = version.map(volume.name)
    for await (const ref of map.nodeRefs()) closure.add(ref.log, ref.block, 0)
    for await (const { leaf } of map.dataLeaves()) addLeaf(closure, leaf)
  }
  return closure
}

/** Neighbours mostly lie in one segment: they are added together. */
function addLeaf(closure: Closure, { refs, blocks }: MapLeaf): void {
  for (let i = 0, next = 0; i < refs.length; i = next) {
    const log = refLog(refs[i])
    next = i + 1
    while (next < refs.length && blocks[next] === blocks[i] && refLog(refs[next]) === log) next++
    if (refs[i] !== 0) closure.add(log, blocks[i], next - i)
  }
}
