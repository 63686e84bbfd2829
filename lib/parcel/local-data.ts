/**
 * How much of versions is stored here, for many of them at once: each map node is looked at once, however many versions
 * share it. What lies beneath a map node that is not here counts as not here.
 *
 * For one look at one moment: what arrives or goes meanwhile may or may not be seen.
 */
import { CHUNK_BYTES } from '../base/limits.ts'
import {
  NODES_PER_BLOCK_MAX,
  decodeInner,
  decodeLeaf,
  emptyLeaf,
  refLog,
  type NodeRef
} from '../format/map.ts'
import type { VersionRecord } from '../format/version.ts'
import { MapNodes, type StoredSource } from './map-nodes.ts'
import { mapHeight } from './volume-map.ts'

export interface LocalSource extends StoredSource {
  /** A test for blocks of that log that are stored here durably. */
  stored(log: Buffer): Promise<(block: number) => boolean>
}

/** Of a version, or beneath a node of its map. */
export interface Local {
  bytes: number
  /** Is all of it here, also maps and device state? */
  whole: boolean
  /** Are all of its maps here? Else there may be more of it. */
  mapped: boolean
}

interface Known {
  stored(block: number): boolean
  /** By number of the node in its log. */
  nodes: Map<number, Local>
}

const NOTHING: Local = { bytes: 0, whole: false, mapped: false }

export class LocalData {
  readonly #maps: MapNodes
  readonly #source: LocalSource
  /** By log, hex. */
  readonly #logs = new Map<string, Promise<Known>>()
  readonly #leaf = emptyLeaf()

  constructor(source: LocalSource) {
    this.#source = source
    this.#maps = new MapNodes(source)
  }

  /** Of the version with that record. Rejects with `DATA_CORRUPT` or `FORMAT_INVALID` where a map is bad. */
  async version(record: VersionRecord): Promise<Local> {
    const logs = await Promise.all(record.logs.map(({ key }) => this.#known(key)))
    const total: Local = { bytes: 0, whole: true, mapped: true }
    const { state } = record
    if (state !== null) {
      let missing = 0
      for (let i = 0; i < state.blocks; i++) {
        if (!logs[state.log].stored(state.firstBlock + i)) missing++
      }
      if (missing > 0) total.whole = false
      else total.bytes += state.bytes
    }
    for (const { root, sizeBytes } of record.volumes) {
      if (root === null) continue
      const level = mapHeight(Math.ceil(sizeBytes / CHUNK_BYTES))
      add(total, await this.#node(record, logs, root, level))
    }
    return total
  }

  async #node(record: VersionRecord, logs: Known[], ref: NodeRef, level: number): Promise<Local> {
    const log = logs[ref.log]
    if (log === undefined || !log.stored(ref.block)) return NOTHING
    const name = ref.block * NODES_PER_BLOCK_MAX + ref.slot
    const known = log.nodes.get(name)
    if (known !== undefined) return known
    const node = await this.#maps.read(record.logs[ref.log].key, ref)
    if (node === null) return NOTHING
    const found = level === 0 ? this.#leafOf(node, logs) : { bytes: 0, whole: true, mapped: true }
    if (level > 0) {
      for (const child of decodeInner(node)) {
        if (child !== null) add(found, await this.#node(record, logs, child, level - 1))
      }
    }
    log.nodes.set(name, found)
    return found
  }

  #leafOf(node: Buffer, logs: Known[]): Local {
    this.#leaf.refs.fill(0)
    const { refs, blocks } = decodeLeaf(node, logs.length, this.#leaf)
    let chunks = 0
    let whole = true
    // Neighbours mostly lie in one segment.
    for (let i = 0, next = 0; i < refs.length; i = next) {
      const log = refLog(refs[i])
      next = i + 1
      if (refs[i] === 0) continue
      while (next < refs.length && blocks[next] === blocks[i] && refLog(refs[next]) === log) next++
      if (logs[log].stored(blocks[i])) chunks += next - i
      else whole = false
    }
    return { bytes: chunks * CHUNK_BYTES, whole, mapped: true }
  }

  #known(log: Buffer): Promise<Known> {
    const name = log.toString('hex')
    let known = this.#logs.get(name)
    if (known === undefined) {
      known = this.#source.stored(log).then((stored) => ({ stored, nodes: new Map() }))
      this.#logs.set(name, known)
    }
    return known
  }
}

function add(total: Local, part: Local): void {
  total.bytes += part.bytes
  total.whole &&= part.whole
  total.mapped &&= part.mapped
}
