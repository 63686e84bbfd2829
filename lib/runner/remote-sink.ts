/** The store of the daemon as the sink of a commit. */
import { HyperparcelError } from '../base/errors.ts'
import { CHUNK_ID_BYTES } from '../base/limits.ts'
import type { LogKeys } from '../chunk/segment.ts'
import type { CommitSink, Places } from '../parcel/commit-sink.ts'
import type { Host } from './host.ts'
import type { LogKeysJson } from './protocol.ts'

/** Blocks in one frame at most, well under the frame limit. */
const APPEND_BYTES_MAX = 8 * 1024 * 1024

export function keysFromJson(json: LogKeysJson): LogKeys {
  return {
    id: Buffer.from(json.id, 'hex'),
    data: Buffer.from(json.data, 'hex'),
    meta: Buffer.from(json.meta, 'hex')
  }
}

export class RemoteSink implements CommitSink {
  readonly log: Buffer
  readonly firstBlock: number
  readonly keys: LogKeys
  readonly keyEpoch: number
  readonly #host: Host
  readonly #logs = new Map<number, Buffer>()

  private constructor(host: Host, keys: LogKeysJson, firstBlock: number, keyEpoch: number) {
    this.#host = host
    this.log = Buffer.from(keys.log, 'hex')
    this.keys = keysFromJson(keys)
    this.firstBlock = firstBlock
    this.keyEpoch = keyEpoch
  }

  static async begin(host: Host): Promise<RemoteSink> {
    const { json } = await host.call('commit.begin', null)
    return new RemoteSink(host, json.keys, json.firstBlock, json.keyEpoch)
  }

  async lookup(ids: Buffer): Promise<Places> {
    const { json, attachment } = await this.#host.call('commit.lookup', null, {
      attachments: [ids]
    })
    for (const [handle, key] of Object.entries(json.logs)) {
      this.#logs.set(Number(handle), Buffer.from(key, 'hex'))
    }
    const words = (ids.byteLength / CHUNK_ID_BYTES) * 3
    const places = new Uint32Array(words)
    for (let i = 0; i < words; i++) places[i] = attachment.readUInt32LE(i * 4)
    return places
  }

  logOf(handle: number): Buffer {
    return this.#logs.get(handle)!
  }

  async idsOf(segments: { log: Buffer; block: number }[]): Promise<Buffer> {
    const logs: string[] = []
    const numbers: number[] = []
    for (const { log, block } of segments) {
      const name = log.toString('hex')
      let at = logs.indexOf(name)
      if (at === -1) at = logs.push(name) - 1
      numbers.push(at, block)
    }
    const answer = await this.#host.call('commit.ids', { logs, segments: numbers })
    return answer.attachment
  }

  async append(blocks: Buffer[], ids: (Buffer | null)[]): Promise<void> {
    let from = 0
    while (from < blocks.length) {
      let to = from
      let bytes = 0
      while (to < blocks.length && (to === from || bytes < APPEND_BYTES_MAX)) {
        bytes += blocks[to++].byteLength
      }
      const some = blocks.slice(from, to)
      const someIds = ids.slice(from, to)
      await this.#host.call(
        'commit.append',
        {
          lengths: some.map((b) => b.byteLength),
          ids: someIds.map((s) => (s === null ? 0 : s.byteLength / CHUNK_ID_BYTES))
        },
        { attachments: [...some, ...someIds.filter((s) => s !== null)] }
      )
      from = to
    }
  }

  async treeHash(log: Buffer, length: number): Promise<Buffer> {
    return (await this.#info(log, length)).treeHash
  }

  async lengthOf(log: Buffer): Promise<number> {
    return (await this.#info(log, null)).length
  }

  async #info(log: Buffer, length: number | null) {
    const { json } = await this.#host.call('commit.logInfo', { log: log.toString('hex'), length })
    const treeHash = Buffer.from(json.treeHash, 'hex')
    if (treeHash.byteLength !== 32) throw new HyperparcelError('INTERNAL', 'No tree hash')
    return { length: json.length, treeHash }
  }
}
