/**
 * What the daemon does for one runner (`HostApi`): blocks to read, and the sink of its commits.
 * Sees sealed blocks and chunk ids only.
 */
import { HyperparcelError } from '../../base/errors.ts'
import type { LogKeys } from '../../chunk/segment.ts'
import { Reply, type Handler, type RequestContext } from '../../ipc/channel.ts'
import type { HostApi, LogKeysJson, RunnerStatus } from '../../runner/protocol.ts'
import type { BlockFetcher, Log } from '../../store/ports.ts'
import { CommitHost, type CommitHostOptions, type CommitNeeds } from './commit-host.ts'
import { keysJson, storedBlocks } from './stored-blocks.ts'

export interface RunnerHostOptions extends Omit<CommitHostOptions, 'keysJson'> {
  fetcher: BlockFetcher
  /** Keys of a log of this fleet. Throws `KEY_MISSING`. */
  keysOf(log: Buffer): LogKeys
  versionExists(version: Buffer): boolean
  /** A block proved bad. True when a peer has a good copy: then it was forgotten here, and can be fetched. */
  forgetBad(log: Buffer, block: number): Promise<boolean>
  onevent(status: RunnerStatus): void
}

type Params<M extends keyof HostApi> = HostApi[M]['params']
type HostHandlers = { [M in keyof HostApi]: Handler }

export class RunnerHost {
  readonly #opts: RunnerHostOptions
  readonly #commits: CommitHost
  /** Bytes of blocks that had to come from peers. */
  fetchedBytes = 0
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
        this.#reads++
        return this.#blocks(params, context).finally(() => {
          this.#reads--
          this.#lastReadMs = performance.now()
        })
      },
      'blocks.stored': (params: Params<'blocks.stored'>) => storedBlocks(this.#opts.store, params),
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
    { log: name, blocks }: Params<'blocks'>,
    { signal }: RequestContext
  ): Promise<Reply> {
    const key = Buffer.from(name, 'hex')
    const log = await this.#opts.store.open(key)
    let found = await Promise.all(blocks.map((block) => this.#read(log, block)))
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
