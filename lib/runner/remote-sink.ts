/** The store of the daemon as the sink of a commit. */
import { HyperparcelError } from '../base/errors.ts'
import { CHUNK_ID_BYTES, SEGMENT_CHUNKS_MAX } from '../base/limits.ts'
import type { LogKeys } from '../chunk/segment.ts'
import type { BlockBatch, CommitSink, LogHead, Places } from '../parcel/commit-sink.ts'
import type { Host } from './host.ts'
import type { HostApi, LogKeysJson } from './protocol.ts'

const WORD_BYTES = 4

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
  readonly compressionLevel: number
  /** Names the commit in what follows. */
  readonly commit: number
  readonly #host: Host
  readonly #logs = new Map<number, Buffer>()

  private constructor(host: Host, begun: HostApi['commit.begin']['result']) {
    this.#host = host
    this.log = Buffer.from(begun.keys.log, 'hex')
    this.keys = keysFromJson(begun.keys)
    this.firstBlock = begun.firstBlock
    this.keyEpoch = begun.keyEpoch
    this.compressionLevel = begun.compressionLevel
    this.commit = begun.commit
  }

  /** Begins a commit, and ends one that began before. */
  static async begin(host: Host): Promise<RemoteSink> {
    const { json } = await host.call('commit.begin', null)
    return new RemoteSink(host, json)
  }

  async lookup(ids: Buffer): Promise<Places> {
    const options = { attachments: [ids] }
    const { json, attachment } = await this.#host.call('commit.lookup', null, options)
    for (const [handle, key] of Object.entries(json.logs)) {
      if (!this.#logs.has(Number(handle))) this.#logs.set(Number(handle), Buffer.from(key, 'hex'))
    }
    const words = (ids.byteLength / CHUNK_ID_BYTES) * 3
    if (attachment.byteLength !== words * WORD_BYTES) throw malformed()
    const places = new Uint32Array(words)
    Buffer.from(places.buffer).set(attachment)
    return places
  }

  logOf(handle: number): Buffer {
    const log = this.#logs.get(handle)
    if (log === undefined) throw malformed()
    return log
  }

  async idsOf(logs: Buffer[], segments: Uint32Array): Promise<Buffer> {
    const { attachment } = await this.#host.call(
      'commit.ids',
      { logs: logs.map((log) => log.toString('hex')) },
      { attachments: [Buffer.from(segments.buffer, segments.byteOffset, segments.byteLength)] }
    )
    const bytes = (segments.length / 2) * SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES
    if (attachment.byteLength !== bytes) throw malformed()
    return attachment
  }

  async append({ first, data, lengths, chunks, ids }: BlockBatch): Promise<void> {
    const params = { commit: this.commit, first, lengths, chunks }
    await this.#host.call('commit.append', params, { attachments: [data, ids] })
  }

  async heads(logs: readonly Buffer[]): Promise<LogHead[]> {
    const { json } = await this.#host.call('commit.logInfo', {
      logs: logs.map((log) => log.toString('hex'))
    })
    return json.logs.map(({ length, treeHash }) => {
      const hash = Buffer.from(treeHash, 'hex')
      if (hash.byteLength !== 32) throw malformed()
      return { length, treeHash: hash }
    })
  }
}

function malformed(): HyperparcelError {
  return new HyperparcelError('INTERNAL', 'The daemon gave an answer of the wrong size')
}
