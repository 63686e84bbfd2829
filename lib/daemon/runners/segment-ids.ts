/**
 * Chunk ids of segments that are not stored here: their heads are asked of connected devices and caches, the closest
 * first, and opened. Some that follow in the log come along, for whoever reads on.
 */
import * as v from 'valibot'
import { openHeadIds } from '../../chunk/segment.ts'
import { CHUNK_ID_BYTES } from '../../base/limits.ts'
import { Reply } from '../../ipc/channel.ts'
import type { HostApi } from '../../runner/protocol.ts'
import type { SourceCount } from '../transfers/byte-sources.ts'
import type { FleetNode } from '../node.ts'
import { HEADS_MAX, HeadsAnswer } from '../peers/segment-heads.ts'

const PEER_MS = 4000
/** Peers that are asked for the same. */
const PEERS_MAX = 3
/** At least so many in a row are asked for. */
const ROW = 16
/** Segments whose ids are kept: 32 MiB of them. */
const KEPT_MAX = 65_536

export class SegmentIds {
  readonly #node: FleetNode
  readonly #kept = new Map<string, Buffer>()
  /** Of heads that came from peers. */
  bytesIn = 0

  constructor(node: FleetNode) {
    this.#node = node
  }

  /** In the order asked for; see `segments.ids`. */
  async get(
    { log, blocks }: HostApi['segments.ids']['params'],
    signal: AbortSignal
  ): Promise<Reply> {
    const unknown = blocks.filter((block) => !this.#kept.has(nameOf(log, block)))
    if (unknown.length > 0) await this.#ask(log, await this.#more(log, unknown), unknown, signal)
    const ids = blocks.map((block) => this.#kept.get(nameOf(log, block)) ?? Buffer.alloc(0))
    const chunks = ids.map(({ byteLength }) => byteLength / CHUNK_ID_BYTES)
    return new Reply({ chunks }, ids)
  }

  counts(): SourceCount[] {
    if (this.bytesIn === 0) return []
    return [{ name: 'chunk ids', kind: 'peers', bytesIn: this.bytesIn, bytesOut: 0 }]
  }

  async #more(name: string, blocks: number[]): Promise<number[]> {
    if (blocks.length >= ROW) return blocks
    const log = await this.#node.store.open(Buffer.from(name, 'hex'))
    const wanted = new Set(blocks)
    for (let block = blocks[0]; block < blocks[0] + ROW && wanted.size < ROW; block++) {
      if (block >= log.length || this.#kept.has(nameOf(name, block))) continue
      if (!(await log.has(block))) wanted.add(block)
    }
    return [...wanted]
  }

  async #ask(log: string, all: number[], needed: number[], signal: AbortSignal): Promise<void> {
    const { network } = this.#node
    const peers = network
      .peers()
      .sort((a, b) => (a.rttMs ?? Infinity) - (b.rttMs ?? Infinity))
      .slice(0, PEERS_MAX)
    for (const { publicKey } of peers) {
      const wanted = all.filter((block) => !this.#kept.has(nameOf(log, block)))
      for (let at = 0; at < wanted.length; at += HEADS_MAX) {
        const some = wanted.slice(at, at + HEADS_MAX)
        const params = { log, blocks: some }
        try {
          const opts = { timeoutMs: PEER_MS, signal }
          const { json, attachment } = await network.callRaw(
            publicKey,
            'segment.heads',
            params,
            opts
          )
          this.bytesIn += attachment.byteLength
          this.#take(log, some, v.parse(HeadsAnswer, json).lengths, attachment)
        } catch {
          signal.throwIfAborted()
          break // it is gone, of an older version, or talks nonsense: the next one
        }
      }
      if (needed.every((block) => this.#kept.has(nameOf(log, block)))) return
    }
  }

  /** What does not open was not asked for, or is a lie. */
  #take(name: string, blocks: number[], lengths: number[], heads: Buffer): void {
    const log = Buffer.from(name, 'hex')
    const { id } = this.#node.keysOf(log)
    let at = 0
    for (const [i, block] of blocks.entries()) {
      const head = heads.subarray(at, (at += lengths[i] ?? 0))
      if (head.byteLength === 0) continue
      try {
        this.#keep(nameOf(name, block), openHeadIds(head, log, block, id))
      } catch {
        // As if it had not come.
      }
    }
  }

  #keep(name: string, ids: Buffer): void {
    this.#kept.set(name, ids)
    if (this.#kept.size > KEPT_MAX) this.#kept.delete(this.#kept.keys().next().value!)
  }
}

function nameOf(log: string, block: number): string {
  return `${log}/${block}`
}
