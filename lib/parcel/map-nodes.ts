/** Map nodes out of blocks as they are stored here, with the last few blocks kept open. */
import { HyperparcelError } from '../base/errors.ts'
import { openBlock } from '../chunk/sealed-block.ts'
import { MAP_BLOCK_BYTES_MAX, decodeMapBlock, type NodeRef } from '../format/map.ts'
import { KIND } from '../format/sealed.ts'

export interface StoredSource {
  /** A block as it is stored here; null where it is not. `DATA_CORRUPT` where the disk gives something else. */
  read(log: Buffer, block: number): Promise<Buffer | null>
  /** Throws `KEY_MISSING`. */
  metaKey(log: Buffer): Buffer
}

const BLOCKS_CACHED_MAX = 64

export class MapNodes {
  readonly source: StoredSource
  readonly #blocks = new Map<string, Buffer[]>()

  constructor(source: StoredSource) {
    this.source = source
  }

  /** The encoded node in that log; null where it is not stored here. */
  async read(log: Buffer, { block, slot }: NodeRef): Promise<Buffer | null> {
    const nodes = await this.#block(log, block)
    if (nodes === null) return null
    if (slot < nodes.length) return nodes[slot]
    throw new HyperparcelError('FORMAT_INVALID', 'A map names a node that is not there')
  }

  async #block(log: Buffer, block: number): Promise<Buffer[] | null> {
    const name = `${log.toString('hex')}/${block}`
    const cached = this.#blocks.get(name)
    if (cached !== undefined) return cached
    const sealed = await this.source.read(log, block)
    if (sealed === null) return null
    const key = this.source.metaKey(log)
    const nodes = decodeMapBlock(openBlock(KIND.MAP, sealed, log, block, key, MAP_BLOCK_BYTES_MAX))
    if (this.#blocks.size >= BLOCKS_CACHED_MAX) {
      this.#blocks.delete(this.#blocks.keys().next().value!)
    }
    this.#blocks.set(name, nodes)
    return nodes
  }
}
