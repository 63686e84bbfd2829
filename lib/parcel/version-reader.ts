/** One version, opened: its maps and its device state, read through a `BlockReader`. */
import { HyperparcelError } from '../base/errors.ts'
import { openBlock } from '../chunk/sealed-block.ts'
import { MAP_BLOCK_BYTES_MAX, decodeMapBlock } from '../format/map.ts'
import { KIND } from '../format/sealed.ts'
import { VERSION_BYTES_MAX, decodeVersion, versionId } from '../format/version.ts'
import type { VersionRecord, VolumeRecord } from '../format/version.ts'
import { CHUNK_BYTES } from '../base/limits.ts'
import type { BlockReader } from './block-reader.ts'
import { VolumeMap } from './volume-map.ts'

const MAP_BLOCKS_CACHED_MAX = 64
const STATE_BYTES_MAX = 2 * 1024 * 1024
/** State blocks asked for at once. */
const STATE_BATCH = 8

/** Opens the sealed version record and checks that it is the version of that id. */
export function openVersion(
  block: Buffer,
  log: Buffer,
  index: number,
  metaKey: Buffer,
  id: Buffer
): VersionRecord {
  const encoded = openBlock(KIND.VERSION, block, log, index, metaKey, VERSION_BYTES_MAX)
  if (!versionId(encoded).equals(id)) {
    throw new HyperparcelError('DATA_CORRUPT', 'A version record is not the one it was named as')
  }
  return decodeVersion(encoded)
}

export class VersionReader {
  readonly record: VersionRecord
  readonly #reader: BlockReader
  readonly #metaKey: (logNumber: number) => Buffer
  readonly #maps = new Map<string, VolumeMap>()
  readonly #mapBlocks = new Map<string, Promise<Buffer[]>>()

  constructor(record: VersionRecord, reader: BlockReader, metaKey: (logNumber: number) => Buffer) {
    this.record = record
    this.#reader = reader
    this.#metaKey = metaKey
  }

  volume(name: string): VolumeRecord {
    const volume = this.record.volumes.find((v) => v.name === name)
    if (volume === undefined) {
      throw new HyperparcelError('VOLUME_NOT_FOUND', `There is no volume ${name} in this version`, {
        hint: `It has ${this.record.volumes.map((v) => v.name).join(', ')}.`
      })
    }
    return volume
  }

  map(name: string): VolumeMap {
    let map = this.#maps.get(name)
    if (map === undefined) {
      const { sizeBytes, root } = this.volume(name)
      map = new VolumeMap(
        Math.ceil(sizeBytes / CHUNK_BYTES),
        root,
        (log, block) => this.#mapBlock(log, block),
        this.record.logs.length
      )
      this.#maps.set(name, map)
    }
    return map
  }

  /** Device state, piece by piece. */
  async *state(): AsyncGenerator<Buffer> {
    const state = this.record.state
    if (state === null) return
    const key = this.record.logs[state.log].key
    let bytes = 0
    for (let i = 0; i < state.blocks; i += STATE_BATCH) {
      const count = Math.min(STATE_BATCH, state.blocks - i)
      const numbers = Array.from({ length: count }, (_, k) => state.firstBlock + i + k)
      for (const [k, block] of (await this.#reader.read(state.log, numbers)).entries()) {
        const meta = this.#metaKey(state.log)
        const piece = openBlock(KIND.STATE, block, key, numbers[k], meta, STATE_BYTES_MAX)
        bytes += piece.byteLength
        yield piece
      }
    }
    if (bytes !== state.bytes) {
      throw new HyperparcelError('DATA_CORRUPT', 'The device state has another size than it says')
    }
  }

  /** Nodes of a map block. Concurrent calls and neighbours share one read. */
  #mapBlock(log: number, block: number): Promise<Buffer[]> {
    const name = `${log}/${block}`
    const cached = this.#mapBlocks.get(name)
    if (cached !== undefined) return cached
    if (log >= this.record.logs.length) {
      throw new HyperparcelError('FORMAT_INVALID', `A map names log ${log}, which is not there`)
    }
    const loading = this.#reader.read(log, [block]).then(([sealed]) => {
      const key = this.record.logs[log].key
      return decodeMapBlock(
        openBlock(KIND.MAP, sealed, key, block, this.#metaKey(log), MAP_BLOCK_BYTES_MAX)
      )
    })
    loading.catch(() => this.#mapBlocks.delete(name))
    if (this.#mapBlocks.size >= MAP_BLOCKS_CACHED_MAX) {
      this.#mapBlocks.delete(this.#mapBlocks.keys().next().value!)
    }
    this.#mapBlocks.set(name, loading)
    return loading
  }
}
