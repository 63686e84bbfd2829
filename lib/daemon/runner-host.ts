/**
 * What the daemon does for one runner (`HostApi`): blocks to read, and the sink of its commits.
 * Sees sealed blocks and chunk ids only.
 */
import { HyperparcelError, assert } from '../base/errors.ts'
import { CHUNK_ID_BYTES, IPC_FRAME_BYTES_MAX, SEGMENT_CHUNKS_MAX } from '../base/limits.ts'
import type { LogKeys } from '../chunk/segment.ts'
import { Reply, type Handler, type RequestContext } from '../ipc/channel.ts'
import type { HostApi, LogKeysJson, PublishParams, RunnerStatus } from '../runner/protocol.ts'
import type { DedupIndex } from '../store/dedup-index.ts'
import type { BlockFetcher, Log, LogStorePort } from '../store/ports.ts'
import type { SegmentIndexer } from '../store/segment-indexer.ts'

export interface RunnerHostOptions {
  store: LogStorePort
  index: DedupIndex
  indexer: SegmentIndexer
  fetcher: BlockFetcher
  /** Keys of a log of this fleet. Throws `KEY_MISSING`. */
  keysOf(log: Buffer): LogKeys
  keyEpoch(): number
  /** The log that commits go to, announced in the registry. */
  ownLog(): Promise<Log>
  /** The version's record is durable in block `block` of `log`: announce it. */
  announce(version: PublishParams, log: Buffer, block: number): Promise<void>
  versionExists(version: Buffer): boolean
  onevent(status: RunnerStatus): void
}

type HostHandlers = { [M in keyof HostApi]: Handler }

export class RunnerHost {
  readonly #opts: RunnerHostOptions
  #log: Log | null = null
  /** Bytes of blocks that had to come from peers. */
  fetchedBytes = 0
  /** Reads that wait for peers: when they began (monotonic), and the log. */
  readonly #waiting = new Set<{ since: number; log: Buffer }>()
  #reads = 0
  #lastReadMs = 0

  constructor(opts: RunnerHostOptions) {
    this.#opts = opts
  }

  /** The read that has waited longest for peers, and the log that it needs; null when none waits. */
  waiting(): { ms: number; log: Buffer } | null {
    const oldest = this.#waiting.values().next().value
    return oldest === undefined
      ? null
      : { ms: Math.round(performance.now() - oldest.since), log: oldest.log }
  }

  /** Milliseconds since the guest last needed a block that the runner does not have; 0 while it needs one. */
  quietMs(): number {
    return this.#reads > 0 ? 0 : performance.now() - this.#lastReadMs
  }

  handlers(): HostHandlers {
    return {
      blocks: (params: HostApi['blocks']['params'], context) => {
        this.#reads++
        return this.#blocks(params, context).finally(() => {
          this.#reads--
          this.#lastReadMs = performance.now()
        })
      },
      logKeys: ({ logs }: { logs: string[] }) => ({
        keys: logs.map((log) => this.keysJson(Buffer.from(log, 'hex')))
      }),
      versionExists: ({ version }: { version: string }) =>
        this.#opts.versionExists(Buffer.from(version, 'hex')),
      'commit.begin': () => this.#begin(),
      'commit.lookup': (_params: null, context) => this.#lookup(context.attachment),
      'commit.ids': (params: HostApi['commit.ids']['params']) => this.#ids(params),
      'commit.append': (params: HostApi['commit.append']['params'], context) =>
        this.#append(params, context.attachment),
      'commit.logInfo': (params: HostApi['commit.logInfo']['params']) => this.#logInfo(params),
      'commit.publish': (params: PublishParams, context) =>
        this.#publish(params, context.attachment),
      event: (status: RunnerStatus) => this.#opts.onevent(status)
    }
  }

  keysJson(log: Buffer): LogKeysJson {
    const { id, data, meta } = this.#opts.keysOf(log)
    const [i, d, m] = [id, data, meta].map((key) => key.toString('hex'))
    return { log: log.toString('hex'), id: i, data: d, meta: m }
  }

  async #blocks(
    { log: name, blocks }: HostApi['blocks']['params'],
    { signal }: RequestContext
  ): Promise<Reply> {
    const key = Buffer.from(name, 'hex')
    const log = await this.#opts.store.open(key)
    let found = await Promise.all(blocks.map((block) => log.read(block)))
    const missing = blocks.filter((_, i) => found[i] === null)
    if (missing.length > 0) {
      const wait = { since: performance.now(), log: key }
      this.#waiting.add(wait)
      try {
        await this.#opts.fetcher.fetch(key, missing, { priority: 'demand', signal })
      } finally {
        this.#waiting.delete(wait)
      }
      found = await Promise.all(blocks.map((block, i) => found[i] ?? log.read(block)))
      for (const block of missing) {
        this.fetchedBytes += found[blocks.indexOf(block)]?.byteLength ?? 0
      }
    }
    const data = found.map((block) => {
      if (block === null) throw new HyperparcelError('DATA_UNREACHABLE', 'A block went missing')
      return block
    })
    return new Reply({ lengths: data.map((block) => block.byteLength) }, data)
  }

  async #begin(): Promise<HostApi['commit.begin']['result']> {
    await this.#opts.indexer.drained()
    const log = await this.#opts.ownLog()
    this.#log = log
    return {
      firstBlock: log.length,
      keyEpoch: this.#opts.keyEpoch(),
      keys: this.keysJson(log.key)
    }
  }

  async #lookup(ids: Buffer): Promise<Reply> {
    const places = await this.#opts.index.lookup(ids)
    const out = Buffer.alloc(places.length * 12)
    const logs: Record<number, string> = {}
    places.forEach((place, i) => {
      if (place === null) return
      out.writeUInt32LE(place.handle + 1, i * 12)
      out.writeUInt32LE(place.block, i * 12 + 4)
      out.writeUInt32LE(place.slot, i * 12 + 8)
      logs[place.handle] ??= this.#opts.index.keyOf(place.handle).toString('hex')
    })
    return new Reply({ logs }, [out])
  }

  async #ids({ logs, segments }: HostApi['commit.ids']['params']): Promise<Reply> {
    const bytes = SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES
    const count = segments.length / 2
    if (count * bytes > IPC_FRAME_BYTES_MAX / 2) {
      throw new HyperparcelError('INTERNAL', 'Too many segments in one request')
    }
    const keys = logs.map((log) => Buffer.from(log, 'hex'))
    const out = Buffer.allocUnsafe(count * bytes)
    for (let i = 0; i < count; i++) {
      await this.#opts.indexer.idsOf(keys[segments[i * 2]], segments[i * 2 + 1], out, i * bytes)
    }
    return new Reply(null, [out])
  }

  async #append(
    { lengths, ids }: HostApi['commit.append']['params'],
    attachment: Buffer
  ): Promise<void> {
    const log = this.#open()
    let at = 0
    const blocks = lengths.map((length) => attachment.subarray(at, (at += length)))
    const first = await log.append(blocks)
    for (let i = 0; i < ids.length; i++) {
      if (ids[i] === 0) continue
      const segment = attachment.subarray(at, (at += ids[i] * CHUNK_ID_BYTES))
      this.#opts.index.add(log.key, first + i, segment)
    }
  }

  async #logInfo({
    log: name,
    length
  }: HostApi['commit.logInfo']['params']): Promise<HostApi['commit.logInfo']['result']> {
    const log = await this.#opts.store.open(Buffer.from(name, 'hex'))
    const known = length ?? log.length
    return { length: known, treeHash: (await log.treeHash(known)).toString('hex') }
  }

  async #publish(params: PublishParams, record: Buffer): Promise<void> {
    const log = this.#open()
    const block = await log.append([record])
    await this.#opts.store.flush()
    await this.#opts.announce(params, log.key, block)
    this.#log = null
  }

  #open(): Log {
    assert(this.#log !== null, 'a commit has begun')
    if (!this.#log.writable) {
      throw new HyperparcelError('LOG_RETIRED', 'The log of this device was retired meanwhile', {
        hint: 'Try again: a new one is started.'
      })
    }
    return this.#log
  }
}
