/** A parcel over a store in memory: commits of changed chunks, versions that read back. */
import { randomBytes } from 'node:crypto'
import { CHUNK_BYTES, MAP_LEAF_CHUNKS, SEGMENT_DATA_BYTES } from '../../lib/base/limits.ts'
import { openSegment } from '../../lib/chunk/segment.ts'
import { refLog, refSlot } from '../../lib/format/map.ts'
import { aheadFrom } from '../../lib/parcel/ahead.ts'
import { inlineWork } from '../../lib/parcel/chunk-work.ts'
import { Commit, type CommitMeta, type VolumeCommit } from '../../lib/parcel/commit.ts'
import type { CommitSink } from '../../lib/parcel/commit-sink.ts'
import { LogTable } from '../../lib/parcel/log-table.ts'
import type { RecordPlace } from '../../lib/parcel/mark.ts'
import { VersionReader, openVersion } from '../../lib/parcel/version-reader.ts'
import { VolumeMap } from '../../lib/parcel/volume-map.ts'
import { commitFrozen, type FrozenChunks } from '../../lib/runner/frozen-commit.ts'
import { MemorySink } from './memory-sink.ts'

/** Chunks that changed; null: they became zero. */
export type Changes = Map<number, Buffer | null>

export interface VolumeChange {
  name: string
  sizeBytes: number
  changes: Changes
  /** Starts from nothing. */
  fresh?: boolean
}

export class MemoryParcel {
  readonly store: MemorySink
  logs = new LogTable()
  readonly dedupKey: Buffer
  /** Where the records of its versions are. */
  readonly places = new Map<VersionReader, RecordPlace>()
  version: VersionReader | null = null
  #number = 0

  constructor(store = new MemorySink(), dedupKey: Buffer = randomBytes(32)) {
    this.store = store
    this.dedupKey = dedupKey
  }

  /** Goes on from that version, of this parcel or of another one in the store. */
  goTo(version: VersionReader): void {
    this.logs = new LogTable(version.record.logs.map((log) => log.key))
    this.version = version
  }

  /** Makes the next version. On an error there is none, and the next one may be made. */
  async commit(volumes: VolumeChange[], state: Buffer[] | null = null): Promise<VersionReader> {
    const { store } = this
    const sink: CommitSink = store.begin()
    const since = aheadFrom(this.version?.record, sink.log)
    const commit = new Commit(sink, this.dedupKey, this.logs, inlineWork, since)
    const inputs = volumes.map((volume) => this.#input(volume))
    for (const [i, { changes }] of volumes.entries()) {
      await commitFrozen(commit, inputs[i], frozenOf(changes), () => {})
    }
    const made = await commit.finish(metaOf(this.#number + 1), inputs, state)
    store.publish(made.block)
    this.#number++
    const { block, at, id } = made
    const record = openVersion(block, sink.log, at, store.keys.meta, id)
    this.logs.extend(record.logs.map((log) => log.key))
    this.version = new VersionReader(record, store.reader(this.logs), () => store.keys.meta)
    this.places.set(this.version, { version: id, log: sink.log, block: at })
    return this.version
  }

  /** What a version has in one chunk of a volume, opened and verified. */
  async read(version: VersionReader, volume: string, chunk: number): Promise<Buffer> {
    const leaf = await version.map(volume).loadLeaf(Math.floor(chunk / MAP_LEAF_CHUNKS))
    const ref = leaf.refs[chunk % MAP_LEAF_CHUNKS]
    if (ref === 0) return Buffer.alloc(CHUNK_BYTES)
    const { key } = version.record.logs[refLog(ref)]
    const block = leaf.blocks[chunk % MAP_LEAF_CHUNKS]
    const sealed = this.store.of(key).blocks[block]
    const target = Buffer.alloc(SEGMENT_DATA_BYTES)
    const segment = openSegment(sealed, key, block, this.store.keys.data, target)
    return segment.subarray(refSlot(ref) * CHUNK_BYTES, (refSlot(ref) + 1) * CHUNK_BYTES)
  }

  #input({ name, sizeBytes, fresh }: VolumeChange): VolumeCommit {
    const known = this.version?.record.volumes.some((volume) => volume.name === name)
    const base = known && fresh !== true ? this.version!.map(name) : emptyMap(sizeBytes)
    return { name, sizeBytes, readOnly: false, base, changed: new Map() }
  }
}

export function emptyMap(sizeBytes: number): VolumeMap {
  return new VolumeMap(Math.ceil(sizeBytes / CHUNK_BYTES), null, () =>
    Promise.reject(new Error('nothing to load'))
  )
}

export function metaOf(number: number): CommitMeta {
  return {
    parcel: Buffer.alloc(16, 1),
    number,
    parent: null,
    lease: null,
    author: Buffer.alloc(32, 2),
    time: 1234,
    message: 'hello',
    cause: 'create',
    machine: null
  }
}

/** A frozen generation with these changes; reads are asynchronous every other time. */
export function frozenOf(changes: Changes): FrozenChunks {
  const chunks = [...changes.keys()].sort((a, b) => a - b)
  const runs: { first: number; count: number; zero: boolean }[] = []
  for (const chunk of chunks) {
    const zero = changes.get(chunk) === null
    const last = runs.at(-1)
    if (last?.zero === zero && last.first + last.count === chunk) last.count++
    else runs.push({ first: chunk, count: 1, zero })
  }
  let reads = 0
  return {
    dirtyBytes: chunks.filter((chunk) => changes.get(chunk) !== null).length * CHUNK_BYTES,
    runs: () => runs,
    read: (first, count, target) => {
      const copy = () => {
        for (let i = 0; i < count; i++) changes.get(first + i)!.copy(target, i * CHUNK_BYTES)
      }
      if (reads++ % 2 === 0) copy()
      else return new Promise((resolve) => setImmediate(() => resolve(copy())))
    }
  }
}
