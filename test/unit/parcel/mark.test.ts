/** What is marked is what versions need, no more and no less: whatever was cloned, rolled back, abandoned and pruned. */
import test from 'brittle'
import * as fc from 'fast-check'
import { BlockSet } from '../../../lib/base/block-set.ts'
import { CHUNK_BYTES } from '../../../lib/base/limits.ts'
import { closureOf } from '../../../lib/parcel/closure.ts'
import type { StoredSource } from '../../../lib/parcel/map-nodes.ts'
import { Marker, Probe } from '../../../lib/parcel/mark.ts'
import type { VersionReader } from '../../../lib/parcel/version-reader.ts'
import { MemoryParcel, type Changes } from '../../helpers/memory-parcel.ts'
import { MemorySink } from '../../helpers/memory-sink.ts'

const CHUNKS = 3000
const SIZE_BYTES = CHUNKS * CHUNK_BYTES

interface Version {
  reader: VersionReader
  /** What it has, by chunk. */
  content: Map<number, number>
  /** Its blocks by the closure, which knows nothing of marking. */
  closure: BlockSet
}

interface Parcel {
  parcel: MemoryParcel
  logs: MemorySink['log'][]
  versions: Version[]
  /** Those that nobody pruned. */
  kept: Set<Version>
}

/** Runs of neighbours, some with content that others have too. */
const writes = fc.array(
  fc.record({
    first: fc.nat(CHUNKS - 1),
    count: fc.integer({ min: 1, max: 300 }),
    value: fc.nat(100)
  }),
  { minLength: 1, maxLength: 4 }
)
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('write'), at: fc.nat(), writes }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('clone'), at: fc.nat(), of: fc.nat() }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('rollback'), at: fc.nat(), of: fc.nat() })
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('abandon'), at: fc.nat(), writes }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('retire'), at: fc.nat() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('prune'),
      at: fc.nat(),
      keep: fc.integer({ min: 1, max: 3 })
    })
  }
)
type Step = { kind: string; at: number; of?: number; keep?: number; writes?: Write[] }
type Write = { first: number; count: number; value: number }

test('versions that stay are whole, and nothing else is left', { timeout: 120_000 }, async (t) => {
  let prunes = 0
  let dropped = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(step as fc.Arbitrary<Step>, { minLength: 8, maxLength: 24 }),
      async (steps) => {
        const model = new Model()
        await model.write(model.parcels[0], [{ first: 0, count: 2000, value: 1 }])
        for (const step of steps) {
          const parcel = model.parcels[step.at % model.parcels.length]
          const usable = [...parcel.kept]
          if (step.kind === 'write') await model.write(parcel, step.writes!)
          else if (step.kind === 'clone') await model.clone(usable[step.of! % usable.length])
          else if (step.kind === 'rollback')
            await model.rollback(parcel, usable[step.of! % usable.length])
          else if (step.kind === 'abandon') await model.abandon(parcel, step.writes!)
          else if (step.kind === 'retire') model.retire(parcel)
          else {
            dropped += await model.prune(parcel, step.keep!)
            prunes++
            await model.check(parcel)
          }
        }
      }
    ),
    { numRuns: 40 }
  )
  t.ok(prunes > 20 && dropped > 100, `${prunes} prunes dropped ${dropped} blocks`)
})

test('a map that is missing names nothing, a damaged one stops the marking', async (t) => {
  const model = new Model()
  const [first] = model.parcels
  await model.write(first, [{ first: 0, count: 2000, value: 99 }])
  const [version] = first.versions
  const { root } = version.reader.volume('disk0')
  const { blocks } = model.store.of(first.logs[0])
  const place = first.parcel.places.get(version.reader)!
  const map = blocks[root!.block]
  const marked = async () => {
    const marker = new Marker(model.source)
    await marker.version(place)
    return marker.needed.size
  }
  const all = await marked()
  t.is(all, version.closure.size)
  Reflect.deleteProperty(blocks, root!.block)
  t.is(await marked(), 2, 'the record and the map that is not here')
  const bad = Buffer.from(map)
  bad[bad.length - 1] ^= 1
  blocks[root!.block] = bad
  await t.exception(marked(), { code: 'DATA_CORRUPT' })
  blocks[root!.block] = map
  t.is(await marked(), all)
})

class Model {
  readonly store = new MemorySink()
  readonly parcels: Parcel[] = []
  /** What was to be kept last, also where an earlier prune had dropped parts of it. */
  #asked: Version[] = []
  readonly source: StoredSource = {
    read: (log, block) => Promise.resolve(this.store.of(log).blocks[block] ?? null),
    metaKey: () => this.store.keys.meta
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
    const here = this.#stored(this.parcels.flatMap(({ logs }) => logs))
    const drop = this.#stored(parcel.logs)
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

  /** Every version that stays reads as it was written, and of the parcel's logs nothing else is left. */
  async check(pruned: Parcel): Promise<void> {
    const needed = new BlockSet()
    for (const { closure } of this.#asked) needed.addAll(closure)
    for (const { parcel, version } of this.#staying(pruned, [...pruned.kept])) {
      needed.addAll(version.closure)
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
    const left = this.#stored(pruned.logs)
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
    const added: Parcel = { parcel, logs: [this.store.log], versions: [], kept: new Set<Version>() }
    this.parcels.push(added)
    return added
  }

  async #commit(parcel: Parcel, changes: Changes, content: Map<number, number>): Promise<void> {
    this.store.log = parcel.logs.at(-1)!
    const volumes = [{ name: 'disk0', sizeBytes: SIZE_BYTES, changes }]
    const reader = await parcel.parcel.commit(volumes)
    const { log, block } = parcel.parcel.places.get(reader)!
    const closure = new BlockSet()
    closure.add(log, block)
    for (const [number, blocks] of (await closureOf(reader)).logs) {
      for (const at of blocks.keys()) closure.add(reader.record.logs[number].key, at)
    }
    const version = { reader, content, closure }
    parcel.versions.push(version)
    parcel.kept.add(version)
  }
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
