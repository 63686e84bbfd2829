/**
 * Which blocks versions need: for whoever is about to delete the others.
 *
 * Unlike a closure it needs nothing that is not here: where a map block is missing, so is knowledge of what lies
 * beneath it, and the author of the version has that. But a map block that is here and bad stops it: what lies beneath
 * may be good, and would be lost.
 *
 * Each map node is looked at once, however many versions share it: its children count in the table of logs of the
 * record that it was written for, and all versions that share it begin with that table.
 */
import { HyperparcelError } from '../base/errors.ts'
import { CHUNK_BYTES } from '../base/limits.ts'
import {
  NODES_PER_BLOCK_MAX,
  decodeInner,
  decodeLeaf,
  refLog,
  type MapLeaf,
  type NodeRef
} from '../format/map.ts'
import type { VersionRecord } from '../format/version.ts'
import { BlockSet, type Bits } from '../base/block-set.ts'
import { MapNodes, type StoredSource } from './map-nodes.ts'
import { openReissuedMap, withReissuedMap, type BlockPlace } from './reissued-version.ts'
import type { SlotMasks } from './slot-masks.ts'
import { openVersion } from './version-reader.ts'
import { mapHeight } from './volume-map.ts'

/** Where a version's record is, and the reissued map that it is read through, if it is. */
export interface RecordPlace {
  version: Buffer
  log: Buffer
  block: number
  annex?: BlockPlace | null
}

/** A record with its logs as sets to mark in. */
interface Marked {
  record: VersionRecord
  needed: Bits[]
  seen: Bits[]
}

export class Marker {
  /** What the versions need, as far as it is known here. */
  readonly needed = new BlockSet()
  readonly #maps: MapNodes
  readonly #slots: SlotMasks | null
  readonly #seen = new BlockSet()

  /** @param slots gets the chunks of segments that the versions need */
  constructor(source: StoredSource, slots: SlotMasks | null = null) {
    this.#maps = new MapNodes(source)
    this.#slots = slots
  }

  /** Marks a version. `ontick` is called now and then and may throw. */
  async version(place: RecordPlace, ontick = () => {}): Promise<void> {
    this.needed.add(place.log, place.block)
    if (place.annex) this.needed.add(place.annex.log, place.annex.block)
    const record = await storedRecord(this.#maps.source, place)
    if (record === null) return
    const marked: Marked = {
      record,
      needed: record.logs.map(({ key }) => this.needed.of(key)),
      seen: record.logs.map(({ key }) => this.#seen.of(key))
    }
    const { state } = record
    if (state !== null) {
      marked.needed[state.log].addRun(state.firstBlock, state.firstBlock + state.blocks)
    }
    for (const { root, level } of rootsOf(record)) await this.#node(marked, root, level, ontick)
  }

  async #node(marked: Marked, ref: NodeRef, level: number, ontick: () => void): Promise<void> {
    const { record, needed, seen } = marked
    checkLog(record, ref.log)
    needed[ref.log].add(ref.block)
    if (seen[ref.log].has(nodeName(ref))) return
    const node = await this.#maps.read(record.logs[ref.log].key, ref)
    if (node === null) return
    seen[ref.log].add(nodeName(ref))
    ontick()
    if (level === 0) {
      const leaf = decodeLeaf(node, record.logs.length)
      for (const { log, block } of segmentsOf(leaf)) needed[log].add(block)
      this.#slots?.add(leaf, (log) => record.logs[log].key)
      return
    }
    for (const child of decodeInner(node)) {
      if (child !== null) await this.#node(marked, child, level - 1, ontick)
    }
  }
}

/**
 * Which versions name a block of a set, or (`outside`) one that is not in it. As a `Marker` it looks at each node once
 * and at what is here only; a block that is not here ends the way down.
 */
export class Probe {
  readonly #maps: MapNodes
  readonly #set: BlockSet
  readonly #outside: boolean
  readonly #seen = new BlockSet()
  readonly #hits = new BlockSet()

  constructor(source: StoredSource, set: BlockSet, { outside = false } = {}) {
    this.#maps = new MapNodes(source)
    this.#set = set
    this.#outside = outside
  }

  async version(place: RecordPlace, ontick = () => {}): Promise<boolean> {
    for (const { log, block } of place.annex ? [place, place.annex] : [place]) {
      if (this.#test(this.#set.of(log), block)) return true
    }
    const record = await storedRecord(this.#maps.source, place)
    if (record === null) return false
    const sets = record.logs.map(({ key }) => this.#set.of(key))
    const { state } = record
    for (let i = 0; i < (state?.blocks ?? 0); i++) {
      if (this.#test(sets[state!.log], state!.firstBlock + i)) return true
    }
    for (const { root, level } of rootsOf(record)) {
      if (await this.#node(record, sets, root, level, ontick)) return true
    }
    return false
  }

  #test(set: Bits, block: number): boolean {
    return set.has(block) !== this.#outside
  }

  async #node(
    record: VersionRecord,
    sets: Bits[],
    ref: NodeRef,
    level: number,
    ontick: () => void
  ): Promise<boolean> {
    checkLog(record, ref.log)
    const { key } = record.logs[ref.log]
    if (this.#test(sets[ref.log], ref.block)) return true
    const name = nodeName(ref)
    if (this.#seen.has(key, name)) return this.#hits.has(key, name)
    const node = await this.#maps.read(key, ref)
    if (node === null) return false
    ontick()
    const hit = await this.#beneath(record, sets, node, level, ontick)
    this.#seen.add(key, name)
    if (hit) this.#hits.add(key, name)
    return hit
  }

  async #beneath(
    record: VersionRecord,
    sets: Bits[],
    node: Buffer,
    level: number,
    ontick: () => void
  ): Promise<boolean> {
    if (level === 0) {
      for (const { log, block } of segmentsOf(decodeLeaf(node, record.logs.length))) {
        if (this.#test(sets[log], block)) return true
      }
      return false
    }
    for (const child of decodeInner(node)) {
      if (child !== null && (await this.#node(record, sets, child, level - 1, ontick))) return true
    }
    return false
  }
}

/** With the maps that it is read through; null where that is not stored here. */
export async function storedRecord(
  source: StoredSource,
  { version, log, block, annex }: RecordPlace
): Promise<VersionRecord | null> {
  const sealed = await source.read(log, block)
  if (sealed === null) return null
  const record = openVersion(sealed, log, block, source.metaKey(log), version)
  if (!annex) return record
  const reissued = await source.read(annex.log, annex.block)
  if (reissued === null) return null
  const encoded = openReissuedMap(reissued, annex, source.metaKey(annex.log))
  return withReissuedMap(record, version, encoded)
}

function* rootsOf({ volumes }: VersionRecord): Generator<{ root: NodeRef; level: number }> {
  for (const { root, sizeBytes } of volumes) {
    if (root !== null) yield { root, level: mapHeight(Math.ceil(sizeBytes / CHUNK_BYTES)) }
  }
}

/** Segments that a leaf names; neighbours mostly lie in one. */
function* segmentsOf({ refs, blocks }: MapLeaf): Generator<{ log: number; block: number }> {
  let lastLog = -1
  let lastBlock = -1
  for (let i = 0; i < refs.length; i++) {
    if (refs[i] === 0) continue
    const log = refLog(refs[i])
    if (log === lastLog && blocks[i] === lastBlock) continue
    lastLog = log
    lastBlock = blocks[i]
    yield { log, block: lastBlock }
  }
}

/** A node among all of its log. */
function nodeName({ block, slot }: NodeRef): number {
  return block * NODES_PER_BLOCK_MAX + slot
}

function checkLog({ logs }: VersionRecord, log: number): void {
  if (log < logs.length) return
  throw new HyperparcelError('FORMAT_INVALID', `A map names log ${log}, which is not there`)
}
