/**
 * What the daemon does for one runner (`HostApi`): blocks to read, and the sink of its commits.
 * Sees sealed blocks and chunk ids only.
 */
import { HyperparcelError, type ErrorShape } from '../../base/errors.ts'
import type { LogKeys } from '../../chunk/segment.ts'
import { Reply, type Handler, type RequestContext } from '../../ipc/channel.ts'
import type { HostApi, LogKeysJson, RunnerStatus } from '../../runner/protocol.ts'
import type { BlockFetcher, Log } from '../../store/ports.ts'
import { CommitHost, type CommitHostOptions, type CommitNeeds } from './commit-host.ts'
import { RemoteReads } from './remote-reads.ts'
import { keysJson, storedBlocks } from './stored-blocks.ts'

export interface RunnerHostOptions extends Omit<CommitHostOptions, 'keysJson'> {
  fetcher: BlockFetcher
  /** Keys of a log of this fleet. Throws `KEY_MISSING`. */
  keysOf(log: Buffer): LogKeys
  versionExists(version: Buffer): boolean
  /** A block proved bad. True when a peer has a good copy: then it was forgotten here, and can be fetched. */
  forgetBad(log: Buffer, block: number): Promise<boolean>
  /** A resume pack proved bad. */
  badPack(place: { log: Buffer; block: number }, error: ErrorShape): Promise<void>
  onevent(status: RunnerStatus): void
  /** Chunk ids of segments, from peers. */
  segmentIds(params: HostApi['segments.ids']['params'], signal: AbortSignal): Promise<Reply>
  seedsUsed(used: HostApi['seeds.used']['params']): void
}

type Params<M extends keyof HostApi> = HostApi[M]['params']
type HostHandlers = { [M in keyof HostApi]: Handler }

export class RunnerHost {
  readonly #opts: RunnerHostOptions
  readonly #commits: CommitHost
  /** Bytes of blocks that had to come from peers. */
  fetchedBytes = 0
  /** Bytes of chunks that it found in images and directories nearby. */
  seedBytes = 0
  readonly remote = new RemoteReads()
  /** Those of them for what the resume pack has. */
  readonly packReads = new RemoteReads(this.remote)
  /** Log of the resume pack that the runner reads from. */
  packLog: Buffer | null = null
  /** Reads that wait for peers: when they began (monotonic), and the log. */
  readonly #waiting = new Set<{ since: number; log: Buffer }>()
  #reads = 0
  #lastReadMs = 0

  constructor(opts: RunnerHostOptions) {
    this.#opts = opts
    this.#commits = new CommitHost({ ...opts, keysJson: (log) => this.keysJson(log) })
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
      blocks: (params: Params<'blocks'>, context) => {
        if (params.ahead) return this.#blocks(params, context)
        this.#reads++
        return this.#blocks(params, context).finally(() => {
          this.#reads--
          this.#lastReadMs = performance.now()
        })
      },
      'blocks.fetch': (params: Params<'blocks.fetch'>, { signal }) => this.#ahead(params, signal),
      'blocks.stored': (params: Params<'blocks.stored'>) => storedBlocks(this.#opts.store, params),
      'segments.ids': (params: Params<'segments.ids'>, { signal }) =>
        this.#opts.segmentIds(params, signal),
      'seeds.used': (used: Params<'seeds.used'>) => {
        for (const { bytes } of used) this.seedBytes += bytes
        this.#opts.seedsUsed(used)
        return null
      },
      logKeys: ({ logs }: { logs: string[] }) => ({
        keys: logs.map((log) => this.keysJson(Buffer.from(log, 'hex')))
      }),
      versionExists: ({ version }: { version: string }) =>
        this.#opts.versionExists(Buffer.from(version, 'hex')),
      'commit.begin': () => this.#commits.begin(),
      'commit.lookup': (_params: null, { attachment }) => this.#commits.lookup(attachment),
      'commit.ids': (params: Params<'commit.ids'>, { attachment }) =>
        this.#commits.ids(params, attachment),
      'commit.append': (params: Params<'commit.append'>, { attachment, recycle }) =>
        this.#commits.append(params, attachment).finally(recycle),
      'commit.logInfo': (params: Params<'commit.logInfo'>) => this.#commits.logInfo(params),
      'commit.publish': (params: Params<'commit.publish'>, { attachment }) =>
        this.#commits.publish(params, attachment),
      'commit.reissue': (params: Params<'commit.reissue'>) => this.#commits.reissue(params),
      badPack: ({ log, block, error }: Params<'badPack'>) =>
        this.#opts.badPack({ log: Buffer.from(log, 'hex'), block }, error),
      event: (status: RunnerStatus) => this.#opts.onevent(status)
    }
  }

  /** What its commit may reference that no version has yet. */
  commitNeeds(): CommitNeeds | null {
    return this.#commits.needs()
  }

  keysJson(log: Buffer): LogKeysJson {
    return keysJson(log, this.#opts.keysOf(log))
  }

  async #blocks(
    { log: name, blocks, ahead }: Params<'blocks'>,
    { signal }: RequestContext
  ): Promise<Reply> {
    const key = Buffer.from(name, 'hex')
    const log = await this.#opts.store.open(key)
    let found = await Promise.all(blocks.map((block) => this.#read(log, block)))
    const missing = blocks.filter((_, i) => found[i] === null)
    if (missing.length > 0) {
      if (ahead) await this.#opts.fetcher.fetch(key, missing, { priority: 'working-set', signal })
      else await this.#demand(key, missing, signal)
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

  async #ahead(
    { log: name, blocks }: Params<'blocks.fetch'>,
    signal: AbortSignal
  ): Promise<{ missing: number }> {
    const key = Buffer.from(name, 'hex')
    const log = await this.#opts.store.open(key)
    const here = await Promise.all(blocks.map((block) => log.has(block)))
    const missing = blocks.filter((_, i) => !here[i])
    if (missing.length > 0) {
      await this.#opts.fetcher.fetch(key, missing, { priority: 'proactive', signal })
    }
    return { missing: missing.length }
  }

  /** A read of the guest waits for these. */
  async #demand(key: Buffer, missing: number[], signal: AbortSignal): Promise<void> {
    const wait = { since: performance.now(), log: key }
    this.#waiting.add(wait)
    const reads = this.packLog?.equals(key) === true ? this.packReads : this.remote
    reads.begin()
    try {
      await this.#opts.fetcher.fetch(key, missing, { priority: 'demand', signal })
    } finally {
      this.#waiting.delete(wait)
      reads.end()
    }
  }

  /** Null where it has to be fetched, also in place of a bad one. */
  async #read(log: Log, block: number): Promise<Buffer | null> {
    try {
      return await log.read(block)
    } catch (err) {
      if ((err as { code?: string }).code !== 'DATA_CORRUPT') throw err
      if (await this.#opts.forgetBad(log.key, block)) return null
      throw err
    }
  }
}
