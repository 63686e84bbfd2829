/** The parts of a daemon and of a runner that read what is stored: one opening of a home, without a network. */
import path from 'node:path'
import { HyperparcelError } from '../../../lib/base/errors.ts'
import { RunnerHost } from '../../../lib/daemon/runners/runner-host.ts'
import { Registry, loadIdentity, localKey, logKeys } from '../../../lib/fleet/index.ts'
import { Channel } from '../../../lib/ipc/channel.ts'
import { connectUnix, listenUnix } from '../../../lib/ipc/endpoint.ts'
import { Host } from '../../../lib/runner/host.ts'
import type { RemoteSink } from '../../../lib/runner/remote-sink.ts'
import { DedupIndex } from '../../../lib/store/dedup-index.ts'
import { LogStore } from '../../../lib/store/log-store.ts'
import { ReadOnlyStore } from '../../../lib/store/read-only-store.ts'
import { SegmentIndexer } from '../../../lib/store/segment-indexer.ts'
import { publishParams } from '../publish-params.ts'

/** Less than what a reader takes for a hang. */
const OPEN_TIMEOUT_MS = 5000
/** Of the log for commits. */
export const PURPOSE = 'parcel:sample'
const PARCEL_KEY = Buffer.alloc(32, 7)
/** Of any log. */
export const logKeysOf = (log: Buffer) => logKeys(PARCEL_KEY, log)

/** One opening: the daemon's parts and the runner's, with a channel between them. */
export class HomeParts {
  readonly device: Buffer
  readonly overlayKey: Buffer
  readonly store: LogStore
  readonly index: DedupIndex
  readonly indexer: SegmentIndexer
  readonly registry: Registry
  readonly local: ReadOnlyStore
  readonly host = new Host()
  #channel: Channel | null = null

  private constructor(
    directory: string,
    identity: NonNullable<Awaited<ReturnType<typeof loadIdentity>>>
  ) {
    this.device = identity.device.publicKey
    this.overlayKey = localKey(identity.device, 'local overlay')
    const at = (name: string) => path.join(directory, name)
    this.store = new LogStore({ directory: at('store'), openTimeoutMs: OPEN_TIMEOUT_MS })
    this.index = new DedupIndex({
      directory: at('index'),
      stored: async (key, blocks) => (await this.store.open(key)).hasEach(blocks)
    })
    this.indexer = new SegmentIndexer(this.store, this.index, (log) => logKeysOf(log).id)
    this.registry = new Registry({ identity, store: this.store, keysDirectory: at('keys') })
    this.local = new ReadOnlyStore({ directory: at('store') })
  }

  static async open(directory: string): Promise<HomeParts> {
    const identity = await loadIdentity(path.join(directory, 'keys'))
    if (identity === null) throw new HyperparcelError('NO_FLEET', 'There is no fleet')
    const parts = new HomeParts(directory, identity)
    try {
      await parts.store.ready()
      await parts.index.ready()
      await parts.registry.ready()
      await parts.local.ready()
      await parts.#connect(directory)
    } catch (err) {
      await parts.close().catch(() => {})
      throw err
    }
    return parts
  }

  async publish(sink: RemoteSink, record: Buffer, block: number): Promise<void> {
    const params = publishParams(sink.commit, block)
    await this.host.call('commit.publish', params, { attachments: [record] })
  }

  async close(): Promise<void> {
    this.#channel?.close()
    const { local, registry, indexer, index, store } = this
    const errors: Error[] = []
    for (const part of [local, registry, indexer, index, store]) {
      await part.close().catch((err: Error) => errors.push(err))
    }
    if (errors.length > 0) throw errors[0]
  }

  async #connect(directory: string): Promise<void> {
    const { store, index, indexer } = this
    const runnerHost = new RunnerHost({
      store,
      index,
      indexer,
      // There is no peer. A final error, so that nobody waits for one.
      fetcher: {
        fetch: () => Promise.reject(new HyperparcelError('KEY_MISSING', 'It is not here'))
      },
      keyEpoch: () => 1,
      compressionLevel: () => null,
      ownLog: () => store.current(PURPOSE),
      keysOf: logKeysOf,
      mayReference: () => true,
      doomed: () => null,
      versionExists: () => false,
      forgetBad: () => Promise.resolve(false),
      badPack: async () => {},
      announce: () => Promise.resolve(),
      onevent: () => {},
      segmentIds: () => Promise.reject(new Error('no peers')),
      seedsUsed: () => {}
    })
    const server = await listenUnix(path.join(directory, 'socket'), (socket) => {
      this.#channel = new Channel(socket, runnerHost.handlers())
    })
    const near = await connectUnix(path.join(directory, 'socket'))
    server.close()
    this.host.attach(new Channel(near, {}))
  }
}
