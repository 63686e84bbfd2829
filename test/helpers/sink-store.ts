/** The real store of commits for tests: a log store and a dedup index behind the calls of a runner. */
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import type { Assert } from 'brittle'
import type { LogKeys } from '../../lib/chunk/segment.ts'
import { RunnerHost } from '../../lib/daemon/runners/runner-host.ts'
import type { LogTable } from '../../lib/parcel/log-table.ts'
import { BlockSource, type LocalBlocks } from '../../lib/runner/block-source.ts'
import { Host } from '../../lib/runner/host.ts'
import { RemoteSink } from '../../lib/runner/remote-sink.ts'
import { DedupIndex } from '../../lib/store/dedup-index.ts'
import { SegmentIndexer } from '../../lib/store/segment-indexer.ts'
import type { SinkStore } from '../conformance/commit-sink.ts'
import { channelPair } from './channels.ts'
import { publishParams } from './publish-params.ts'
import { createLogStore } from './stores.ts'

const PURPOSE = 'parcel:test'

/** @param local what a runner reads by itself; without it everything is asked for */
export async function createSinkStore(t: Assert, local: LocalBlocks = nothing): Promise<SinkStore> {
  const directory = await t.tmp()
  const store = await createLogStore(t, path.join(directory, 'store'))
  const index = new DedupIndex({
    directory: path.join(directory, 'index'),
    stored: async (key, blocks) => {
      const log = await store.open(key)
      return Promise.all(blocks.map((block) => log.has(block)))
    }
  })
  await index.ready()
  t.teardown(() => index.close())
  const keys: LogKeys = { id: randomBytes(32), data: randomBytes(32), meta: randomBytes(32) }
  const indexer = new SegmentIndexer(store, index, () => keys.id)
  const runnerHost = new RunnerHost({
    store,
    index,
    indexer,
    fetcher: { fetch: () => Promise.reject(new Error('There is no peer')) },
    keyEpoch: () => 1,
    compressionLevel: () => null,
    ownLog: () => store.current(PURPOSE),
    keysOf: () => keys,
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
  const host = new Host()
  const { near } = await channelPair(t, {}, runnerHost.handlers())
  host.attach(near)
  return {
    begin: () => RemoteSink.begin(host),
    publish: async (sink, record, at) => {
      const commit = (sink as RemoteSink).commit
      await host.call('commit.publish', publishParams(commit, at), { attachments: [record] })
    },
    retire: async () => store.retire((await store.current(PURPOSE)).key),
    reader: (logs: LogTable) => new BlockSource(host, local, logs)
  }
}

const nothing: LocalBlocks = {
  read: () => Promise.resolve(null),
  refresh: () => Promise.resolve(false)
}
