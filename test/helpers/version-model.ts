/**
 * Parcels over a store in memory that are written, cloned, rolled back, abandoned, pruned and packed anew, with what each
 * version must read as and which blocks it needs.
 */
import { BlockSet } from '../../lib/base/block-set.ts'
import { CHUNK_BYTES, CHUNK_ID_BYTES } from '../../lib/base/limits.ts'
import { inlineWork } from '../../lib/parcel/chunk-work.ts'
import { closureOf } from '../../lib/parcel/closure.ts'
import { LogTable } from '../../lib/parcel/log-table.ts'
import type { StoredSource } from '../../lib/parcel/map-nodes.ts'
import { Marker, Probe, storedRecord, type RecordPlace } from '../../lib/parcel/mark.ts'
import { reissueVersions } from '../../lib/parcel/reissue-versions.ts'
import type { BlockPlace } from '../../lib/parcel/reissued-version.ts'
import { repack } from '../../lib/parcel/repack.ts'
import { SlotMasks, slotCount, type LiveSlots } from '../../lib/parcel/slot-masks.ts'
import type { StoredBlocks } from '../../lib/parcel/verify.ts'
import { VersionReader } from '../../lib/parcel/version-reader.ts'
import { MemoryParcel, type Changes } from './memory-parcel.ts'
import { MemorySink } from './memory-sink.ts'

export type Write = { first: number; count: number; value: number }

export const CHUNKS = 3000
const SIZE_BYTES = CHUNKS * CHUNK_BYTES

export interface Version {
  reader: VersionReader
  /** What it has, by chunk. */
  content: Map<number, number>
  /** Its blocks by the closure, which knows nothing of marking. */
  closure: BlockSet
}

export interface Parcel {
  parcel: MemoryParcel
  logs: MemorySink['log'][]
  /** Where what is packed anew goes. */
  packLog: MemorySink['log'] | null
  versions: Version[]
  /** Those that nobody pruned. */
  kept: Set<Version>
}

export class Model {
  readonly store = new MemorySink()
  readonly parcels: Parcel[] = []
  /** What was to be kept last, also where an earlier prune had dropped parts of it. */
  #asked: Version[] = []
  readonly source: StoredSource = {
    read: (log, block) => Promise.resolve(this.store.of(log).blocks[block] ?? null),
    metaKey: () => this.store.keys.meta
  }
  readonly stored: StoredBlocks = {
    read: (log, blocks) =>
      Promise.resolve(blocks.map((block) => this.store.of(log).blocks[block] ?? null)),
    keysOf: () => Promise.resolve(this.store.keys)
  }

  constructor() {
    this.#add(new MemoryParcel(this.store))
  }

  /** With new content for each write and place, unless the value is small. */
  async write(parcel: Parcel, runs: Write[]): Promise<void> {
    const content = new Map(parcel.versions.at(-1)?.content)
    const changes: Changes = new Map()
    for (const [chunk, value] of valuesOf(runs)) {
      content.set(chunk, value)
      changes.set(chunk, value === 0 ? null : same(value))
    }
    await this.#commit(parcel, changes, content)
  }

  async clone({ reader, content }: Version): Promise<void> {
    const parcel = this.#add(new MemoryParcel(this.store, this.parcels[0].parcel.dedupKey))
    parcel.parcel.goTo(reader)
    await this.#commit(parcel, new Map(), content)
  }

  async rollback(parcel: Parcel, { reader, content }: Version): Promise<void> {
    parcel.parcel.goTo(reader)
    await this.#commit(parcel, new Map(), content)
  }

  /** A commit that is killed before its record: what it appended is garbage. */
  async abandon(parcel: Parcel, runs: Write[]): Promise<void> {
    const { store } = this
    const { version, logs } = parcel.parcel
    const publish = store.publish.bind(store)
    store.publish = () => {
      throw new Error('killed')
    }
    const changes: Changes = new Map()
    for (const [chunk, value] of valuesOf(runs)) changes.set(chunk, same(value + 1_000_000))
    store.log = parcel.logs.at(-1)!
    const volumes = [{ name: 'disk0', sizeBytes: SIZE_BYTES, changes }]
    await parcel.parcel.commit(volumes).catch(() => {})
    store.publish = publish
    Object.assign(parcel.parcel, { version, logs })
  }

  retire(parcel: Parcel): void {
    this.store.retire()
    parcel.logs.push(this.store.log)
  }

  async prune(parcel: Parcel, keep: number): Promise<number> {
    this.#asked = parcel.versions.slice(-keep)
    const marker = new Marker(this.source)
    for (const { parcel: owner, version } of this.#staying(parcel, this.#asked)) {
      await marker.version(owner.places.get(version.reader)!)
    }
    const here = this.#stored(this.parcels.flatMap(logsOf))
    const drop = this.#stored(logsOf(parcel))
    for (const { reader } of parcel.versions) {
      const { log, block } = parcel.parcel.places.get(reader)!
      marker.needed.add(log, block)
    }
    drop.removeAll(marker.needed)
    const loses = new Probe(this.source, drop)
    const lacks = new Probe(this.source, here, { outside: true })
    for (const version of parcel.versions) {
      const place = parcel.parcel.places.get(version.reader)!
      const whole = inAll(version.closure, here)
      must(await lacks.version(place), !whole, 'whole')
      if (whole) must(await loses.version(place), !inNone(version.closure, drop), 'loses')
    }
    for (const { log, start, end } of drop.runs()) {
      const { blocks } = this.store.of(log)
      for (let block = start; block < end; block++) Reflect.deleteProperty(blocks, block)
    }
    parcel.kept = new Set(this.#asked.filter((version) => parcel.kept.has(version)))
    return drop.size
  }

  /** Rewrites segments of the parcel of which kept versions need at most half. Resolves with their number. */
  async repack(parcel: Parcel): Promise<number> {
    const { store } = this
    const kept = this.parcels.flatMap((owner) =>
      [...owner.kept].map((version) => ({ owner, version }))
    )
    const placeOf = ({ owner, version }: (typeof kept)[number]) =>
      owner.parcel.places.get(version.reader)!
    const segments = await this.mostlyDead(kept.map(placeOf), logsOf(parcel))
    if (segments.length === 0) return 0
    if (parcel.packLog === null) store.retire()
    store.log = parcel.packLog ??= store.log
    const sink = store.begin()
    const { dedupKey } = parcel.parcel
    const packed = await repack(segments, this.stored, sink, dedupKey, inlineWork, () => {})
    const places = kept.map(placeOf)
    const { annexes } = await reissueVersions(places, packed, this.source, sink, () => {})
    for (const { version: id, block } of annexes) {
      const found = kept.find((each) => placeOf(each).version.equals(id))!
      await this.#readThrough(found.owner, found.version, { log: sink.log, block })
    }
    return segments.length
  }

  async mostlyDead(places: RecordPlace[], logs: Buffer[]): Promise<LiveSlots[]> {
    const slots = new SlotMasks()
    const marker = new Marker(this.source, slots)
    for (const place of places) await marker.version(place)
    return logs.flatMap((log) =>
      [...slots.of(log)].filter(({ block, mask }) => {
        const chunks = this.store.of(log).ids[block]!.byteLength / CHUNK_ID_BYTES
        return slotCount(mask) <= chunks / 2
      })
    )
  }

  async #readThrough(owner: Parcel, version: Version, annex: BlockPlace): Promise<void> {
    const { parcel } = owner
    const old = version.reader
    const place = { ...parcel.places.get(old)!, annex }
    const record = (await storedRecord(this.source, place))!
    for (const [i, { root }] of record.volumes.entries()) {
      const was = old.record.volumes[i].root
      must(root?.hash.toString('hex'), was?.hash.toString('hex'), 'content root')
    }
    const table = new LogTable(record.logs.map(({ key }) => key))
    version.reader = new VersionReader(record, this.store.reader(table), () => this.store.keys.meta)
    parcel.places.set(version.reader, place)
    version.closure = await closureBlocks(version.reader, place)
    if (parcel.version === old) parcel.goTo(version.reader)
  }

  /** Every version that stays reads as it was written, and of the parcel's logs nothing else is left. */
  async check(pruned: Parcel): Promise<void> {
    const needed = new BlockSet()
    for (const { closure } of this.#asked) needed.addAll(closure)
    for (const { parcel, version } of this.#staying(pruned, [...pruned.kept])) {
      needed.addAll(version.closure)
      const record = await storedRecord(this.source, parcel.places.get(version.reader)!)
      must(record !== null, true, 'its record and its map are here')
      for (const [chunk, value] of version.content) {
        if (chunk % 7 !== 0 && chunk % 1000 > 20) continue
        const read = await parcel.read(version.reader, 'disk0', chunk)
        must(read.equals(value === 0 ? Buffer.alloc(CHUNK_BYTES) : same(value)), true, 'content')
      }
    }
    for (const { reader } of pruned.versions) {
      const { log, block } = pruned.parcel.places.get(reader)!
      needed.add(log, block)
    }
    const left = this.#stored(logsOf(pruned))
    left.removeAll(needed)
    must(left.size, 0, 'nothing else is left')
  }

  /** Versions that nobody pruned. */
  #staying(pruned: Parcel, kept: Version[]): { parcel: MemoryParcel; version: Version }[] {
    return this.parcels.flatMap((owner) =>
      (owner === pruned ? kept : [...owner.kept]).map((version) => ({
        parcel: owner.parcel,
        version
      }))
    )
  }

  #stored(logs: readonly Buffer[]): BlockSet {
    const stored = new BlockSet()
    for (const log of logs) this.store.of(log).blocks.forEach((_, block) => stored.add(log, block))
    return stored
  }

  #add(parcel: MemoryParcel): Parcel {
    this.store.retire()
    const { log } = this.store
    const added: Parcel = { parcel, logs: [log], packLog: null, versions: [], kept: new Set() }
    this.parcels.push(added)
    return added
  }

  async #commit(parcel: Parcel, changes: Changes, content: Map<number, number>): Promise<void> {
    this.store.log = parcel.logs.at(-1)!
    const volumes = [{ name: 'disk0', sizeBytes: SIZE_BYTES, changes }]
    const reader = await parcel.parcel.commit(volumes)
    const closure = await closureBlocks(reader, parcel.parcel.places.get(reader)!)
    const version = { reader, content, closure }
    parcel.versions.push(version)
    parcel.kept.add(version)
  }
}

function logsOf({ logs, packLog }: Parcel): Buffer[] {
  return packLog === null ? logs : [...logs, packLog]
}

async function closureBlocks(reader: VersionReader, place: RecordPlace): Promise<BlockSet> {
  const closure = new BlockSet()
  for (const { log, block } of place.annex ? [place, place.annex] : [place]) {
    closure.add(log, block)
  }
  for (const [number, blocks] of (await closureOf(reader)).logs) {
    for (const at of blocks.keys()) closure.add(reader.record.logs[number].key, at)
  }
  return closure
}

let unique = 1000

function valuesOf(runs: Write[]): Map<number, number> {
  const values = new Map<number, number>()
  for (const { first, count, value } of runs) {
    for (let i = 0; i < count && first + i < CHUNKS; i++) {
      values.set(first + i, value < 30 ? value : unique++)
    }
  }
  return values
}

function same(value: number): Buffer {
  const chunk = Buffer.alloc(CHUNK_BYTES)
  chunk.writeUInt32LE(value, 100)
  return chunk
}

function inAll(blocks: BlockSet, set: BlockSet): boolean {
  for (const { log, start, end } of blocks.runs()) {
    for (let block = start; block < end; block++) if (!set.has(log, block)) return false
  }
  return true
}

function inNone(blocks: BlockSet, set: BlockSet): boolean {
  for (const { log, start, end } of blocks.runs()) {
    for (let block = start; block < end; block++) if (set.has(log, block)) return false
  }
  return true
}

function must(actual: unknown, expected: unknown, what: string): void {
  if (actual !== expected) throw new Error(`${what}: ${String(actual)}, not ${String(expected)}`)
}
