/**
 * Checks everything that is stored of versions: each block's seal, each chunk against its id, the structure of
 * the maps, and each map node's content hash up to the content root.
 *
 * Blocks and map nodes that several versions share are checked once. What is not stored here is counted and says
 * nothing about the rest: every node is checked against the hash by which it is named.
 */
import { HyperparcelError } from '../base/errors.ts'
import {
  CHUNK_BYTES,
  CHUNK_ID_BYTES,
  SEGMENT_CHUNKS_MAX,
  SEGMENT_DATA_BYTES
} from '../base/limits.ts'
import { writeChunkId } from '../chunk/ids.ts'
import { openBlock } from '../chunk/sealed-block.ts'
import { openSegment, openSegmentIds, type LogKeys } from '../chunk/segment.ts'
import {
  MAP_BLOCK_BYTES_MAX,
  decodeInner,
  decodeLeaf,
  decodeMapBlock,
  refLog,
  refSlot,
  type NodeRef
} from '../format/map.ts'
import { KIND } from '../format/sealed.ts'
import type { VersionRecord } from '../format/version.ts'
import { BlockStates } from './block-states.ts'
import { LEAF_ID_BYTES, innerHash, leafHash } from './map-writer.ts'
import type { RecordPlace } from './mark.ts'
import { openReissuedMap, withReissuedMap } from './reissued-version.ts'
import { openVersion } from './version-reader.ts'
import { mapHeight } from './volume-map.ts'

export interface StoredBlocks {
  /** Blocks as they are stored here: null for one that is not, `unreadable` for one that the disk does not give back. */
  read(log: Buffer, blocks: number[]): Promise<(Buffer | 'unreadable' | null)[]>
  /** Keys of a log. */
  keysOf(log: Buffer): Promise<LogKeys>
}

/** What was found in a version, also in parts that others share: flags. */
export const FOUND = { BAD: 1, MISSING: 2 } as const

export interface BadBlock {
  log: Buffer
  block: number
  why: string
}

const NOT_AS_SAID = ['DATA_CORRUPT', 'FORMAT_INVALID', 'FORMAT_TOO_NEW']

const GOOD = 1
const BAD = 2
const MISSING = 3

const STATE_BYTES_MAX = 2 * 1024 * 1024
/** Segments read at once: 4 MiB of chunks. */
const READ_BATCH = 64
/** 512 bytes each. */
const IDS_CACHED_MAX = 16_384
const MAP_BLOCKS_CACHED_MAX = 64

export class Verifier {
  /** Blocks that were read and opened, and their bytes. */
  checked = 0
  bytes = 0
  /** Blocks that are not stored here. */
  missing = 0
  readonly bad: BadBlock[] = []
  readonly #blocks: StoredBlocks
  readonly #dedupKey: Buffer
  readonly #opened = Buffer.allocUnsafeSlow(SEGMENT_DATA_BYTES)
  readonly #states = new BlockStates()
  /** What was found in each map node and below it. */
  readonly #nodes = new Map<string, number>()
  readonly #ids = new Map<string, Buffer>()
  readonly #maps = new Map<string, Buffer[]>()

  constructor(blocks: StoredBlocks, dedupKey: Buffer) {
    this.#blocks = blocks
    this.#dedupKey = dedupKey
  }

  /**
   * Checks one version, as it is read from that place; says what was found in it (`FOUND`). `ontick` is called now and
   * then and may throw.
   */
  async version(place: RecordPlace, ontick: () => void): Promise<number> {
    const record = await this.#record(place)
    if (record === null) return this.#foundIn(place)
    let found = await this.#state(record)
    for (const { root, sizeBytes } of record.volumes) {
      const height = mapHeight(Math.ceil(sizeBytes / CHUNK_BYTES))
      if (root !== null) found |= await this.#node(record, root, height, ontick)
    }
    return found
  }

  /** Of a place whose record cannot be read. */
  #foundIn({ log, block, annex }: RecordPlace): number {
    return this.#flags(log, block) | (annex ? this.#flags(annex.log, annex.block) : 0)
  }

  #flags(log: Buffer, block: number): number {
    const state = this.#states.get(log, block)
    return state === BAD ? FOUND.BAD : state === MISSING ? FOUND.MISSING : 0
  }

  async #record({ version, log, block, annex }: RecordPlace): Promise<VersionRecord | null> {
    const keys = await this.#blocks.keysOf(log)
    const record = await this.#open(log, block, (sealed) =>
      openVersion(sealed, log, block, keys.meta, version)
    )
    if (record === null || !annex) return record
    const { meta } = await this.#blocks.keysOf(annex.log)
    return this.#open(annex.log, annex.block, (sealed) =>
      withReissuedMap(record, version, openReissuedMap(sealed, annex, meta))
    )
  }

  async #state({ logs, state }: VersionRecord): Promise<number> {
    if (state === null) return 0
    const { key } = logs[state.log]
    const { meta } = await this.#blocks.keysOf(key)
    let bytes = 0
    let whole = true
    let found = 0
    for (let i = 0; i < state.blocks; i++) {
      const piece = await this.#open(key, state.firstBlock + i, (sealed) =>
        openBlock(KIND.STATE, sealed, key, state.firstBlock + i, meta, STATE_BYTES_MAX)
      )
      if (piece === null) whole = false
      else bytes += piece.byteLength
      found |= this.#flags(key, state.firstBlock + i)
    }
    if (!whole || bytes === state.bytes) return found
    this.#isBad(key, state.firstBlock, 'device state has another size')
    return FOUND.BAD
  }

  async #node(
    record: VersionRecord,
    ref: NodeRef,
    level: number,
    ontick: () => void
  ): Promise<number> {
    ontick()
    if (ref.log >= record.logs.length) return FOUND.BAD
    const { key } = record.logs[ref.log]
    const place = `${key.toString('hex')}/${ref.block}/${ref.slot}`
    // Children of a node count in the table of logs of the record: the same for all that share the node.
    const name = `${place}/${level}/${ref.hash.toString('hex')}`
    const known = this.#nodes.get(name)
    if (known !== undefined) return known
    const wrong = (why: string) => this.#isBad(key, ref.block, why)
    let found = 0
    const nodes = await this.#mapBlock(key, ref.block)
    if (nodes !== null)
      found |= await this.#below(record, nodes[ref.slot], ref, level, ontick, wrong)
    found |= this.#flags(key, ref.block)
    this.#nodes.set(name, found)
    return found
  }

  /** What is found below a node; what is wrong with itself is told to `wrong`. */
  async #below(
    record: VersionRecord,
    node: Buffer | undefined,
    { hash }: NodeRef,
    level: number,
    ontick: () => void,
    wrong: (why: string) => void
  ): Promise<number> {
    let found = 0
    try {
      if (node === undefined) wrong('a map node is not there')
      else if (level === 0) found = await this.#leaf(record, node, hash, wrong)
      else {
        const children = decodeInner(node)
        if (!innerHash(children).equals(hash)) wrong('a map node has another content hash')
        for (const child of children) {
          if (child === null) continue
          if (child.log >= record.logs.length) wrong('a map names a log that is not there')
          else found |= await this.#node(record, child, level - 1, ontick)
        }
      }
    } catch (err) {
      if ((err as { code?: string }).code !== 'FORMAT_INVALID') throw err
      wrong('a map node does not decode')
    }
    return found
  }

  async #leaf(
    record: VersionRecord,
    node: Buffer,
    hash: Buffer,
    wrong: (why: string) => void
  ): Promise<number> {
    const bad = (why: string) => {
      wrong(why)
      return FOUND.BAD
    }
    let found = 0
    const leaf = decodeLeaf(node)
    const wanted = new Map<number, Map<number, number[]>>()
    leaf.refs.forEach((ref, place) => {
      if (ref === 0) return
      const blocks = entry(wanted, refLog(ref), () => new Map<number, number[]>())
      entry(blocks, leaf.blocks[place], () => []).push(place)
    })
    const leafIds = Buffer.alloc(LEAF_ID_BYTES)
    let whole = true
    for (const [number, blocks] of wanted) {
      if (number >= record.logs.length) return bad('a map names a log that is not there')
      const { key } = record.logs[number]
      const all = [...blocks.keys()]
      for (let at = 0; at < all.length; at += READ_BATCH) {
        const some = all.slice(at, at + READ_BATCH)
        const ids = await this.#segments(key, some)
        for (const [i, block] of some.entries()) {
          const known = ids[i]
          found |= this.#flags(key, block)
          if (known === null) whole = false
          else
            for (const place of blocks.get(block)!) {
              const from = refSlot(leaf.refs[place]) * CHUNK_ID_BYTES
              if (from >= known.byteLength) return bad('a map names a chunk that is not there')
              known.copy(leafIds, place * CHUNK_ID_BYTES, from, from + CHUNK_ID_BYTES)
            }
        }
      }
    }
    if (!whole || leafHash(leafIds).equals(hash)) return found
    return bad('a map leaf has another content hash')
  }

  /** Ids of segments, checked; null for those that are bad or missing. */
  async #segments(log: Buffer, blocks: number[]): Promise<(Buffer | null)[]> {
    const keys = await this.#blocks.keysOf(log)
    const name = log.toString('hex')
    const ids = blocks.map((block) => this.#ids.get(`${name}/${block}`) ?? null)
    const unread = blocks.filter((block, i) => {
      return ids[i] === null && this.#states.get(log, block) <= GOOD
    })
    if (unread.length === 0) return ids
    const found = await this.#blocks.read(log, unread)
    for (const [i, block] of unread.entries()) {
      const known = this.#states.get(log, block) === GOOD
      const opened = this.#check(log, block, found[i], (sealed) =>
        known
          ? openSegmentIds(sealed, log, block, keys.id)
          : this.#segment(sealed, log, block, keys)
      )
      if (opened === null) continue
      if (this.#ids.size >= IDS_CACHED_MAX) this.#ids.delete(this.#ids.keys().next().value!)
      this.#ids.set(`${name}/${block}`, opened)
      ids[blocks.indexOf(block)] = opened
    }
    return ids
  }

  /** Opens a segment wholly; its ids. */
  #segment(sealed: Buffer, log: Buffer, block: number, keys: LogKeys): Buffer {
    const ids = openSegmentIds(sealed, log, block, keys.id)
    const data = openSegment(sealed, log, block, keys.data, this.#opened)
    const count = ids.byteLength / CHUNK_ID_BYTES
    const computed = Buffer.allocUnsafe(SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES)
    for (let i = 0; i < count; i++) writeChunkId(computed, i, data, i * CHUNK_BYTES, this.#dedupKey)
    data.fill(0)
    if (computed.subarray(0, ids.byteLength).equals(ids)) return ids
    throw new HyperparcelError('DATA_CORRUPT', 'a chunk is not the one that its id says')
  }

  async #mapBlock(log: Buffer, block: number): Promise<Buffer[] | null> {
    const name = `${log.toString('hex')}/${block}`
    const cached = this.#maps.get(name)
    if (cached !== undefined) return cached
    const { meta } = await this.#blocks.keysOf(log)
    const nodes = await this.#open(log, block, (sealed) =>
      decodeMapBlock(openBlock(KIND.MAP, sealed, log, block, meta, MAP_BLOCK_BYTES_MAX))
    )
    if (nodes === null) return null
    if (this.#maps.size >= MAP_BLOCKS_CACHED_MAX) this.#maps.delete(this.#maps.keys().next().value!)
    this.#maps.set(name, nodes)
    return nodes
  }

  async #open<T>(log: Buffer, block: number, open: (sealed: Buffer) => T): Promise<T | null> {
    if (this.#states.get(log, block) > GOOD) return null
    const [found] = await this.#blocks.read(log, [block])
    return this.#check(log, block, found, open)
  }

  #check<T>(
    log: Buffer,
    block: number,
    found: Buffer | 'unreadable' | null,
    open: (sealed: Buffer) => T
  ): T | null {
    const fresh = this.#states.get(log, block) === 0
    if (found === null) {
      if (fresh) this.missing++
      this.#states.set(log, block, MISSING)
      return null
    }
    if (fresh) this.checked++
    if (found === 'unreadable') {
      this.#isBad(log, block, 'the disk does not give it back')
      return null
    }
    if (fresh) this.bytes += found.byteLength
    try {
      const opened = open(found)
      this.#states.set(log, block, GOOD)
      return opened
    } catch (err) {
      const { code, message } = err as { code?: string; message: string }
      if (!NOT_AS_SAID.includes(code ?? '')) throw err
      this.#isBad(log, block, message)
      return null
    }
  }

  #isBad(log: Buffer, block: number, why: string): void {
    if (this.#states.get(log, block) === BAD) return
    this.#states.set(log, block, BAD)
    this.bad.push({ log, block, why })
  }
}

function entry<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key)
  if (value === undefined) map.set(key, (value = make()))
  return value
}
