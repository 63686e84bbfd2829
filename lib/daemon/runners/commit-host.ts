/**
 * The sink of a runner's commits (`HostApi`, `commit.*`): its own log of the parcel, and what is known of chunks.
 *
 * Invariants
 * - One commit at a time: `begin` ends the one before, whose calls are refused from then on.
 * - Blocks land where the commit said that they would. Appends run one after the other, and one that is not for
 *   the end of the log is refused: locations in maps were made before the blocks.
 * - Nothing of a commit is referenced before `publish`, so a commit that ends anywhere before leaves only blocks
 *   that the dedup index may still find.
 * - Whatever it was told to be stored stays stored until it is published or another one begins (`needs`).
 */
import { randomInt } from 'node:crypto'
import { faultPoint } from '../../base/fault-point.ts'
import { HyperparcelError } from '../../base/errors.ts'
import {
  CHUNK_ID_BYTES,
  COMPRESSION_LEVEL,
  IPC_FRAME_BYTES_MAX,
  SEGMENT_CHUNKS_MAX
} from '../../base/limits.ts'
import { Reply } from '../../ipc/channel.ts'
import type { HostApi, LogKeysJson, PublishParams } from '../../runner/protocol.ts'
import { BlockSet, type Bits } from '../../base/block-set.ts'
import type { DedupIndex } from '../../store/dedup-index.ts'
import type { Log, LogStorePort } from '../../store/ports.ts'
import type { SegmentIndexer } from '../../store/segment-indexer.ts'

export interface CommitHostOptions {
  store: LogStorePort
  index: DedupIndex
  indexer: SegmentIndexer
  keyEpoch(): number
  /** Null: the usual one. */
  compressionLevel(): number | null
  /** The log that commits go to, announced in the registry. */
  ownLog(): Promise<Log>
  keysJson(log: Buffer): LogKeysJson
  /** May a commit reference blocks of that log? Not those of a parcel that may be taken back. */
  mayReference(log: Buffer): boolean
  /** Blocks that are about to be deleted: no commit learns of them any more. */
  doomed(): BlockSet | null
  /** The version's record is durable in block `block` of `log`: announce it. */
  announce(version: PublishParams, log: Buffer, block: number): Promise<void>
  /** These reissued maps are durable in that log. Only where maps are issued anew. */
  announceMaps?(maps: Params<'commit.reissue'>['maps'], log: Buffer): Promise<void>
}

interface OpenCommit {
  id: number
  log: Log
}

/** What a commit that is not a version yet may reference: blocks at the end of its log, and found ones. */
export interface CommitNeeds {
  log: Buffer
  from: number
  found: BlockSet
}

type Params<M extends keyof HostApi> = HostApi[M]['params']
type Result<M extends keyof HostApi> = HostApi[M]['result']

export class CommitHost {
  readonly #opts: CommitHostOptions
  /** Differs from that of an earlier daemon, whose commits a runner may still try to go on with. */
  #id = randomInt(2 ** 31)
  #commit: OpenCommit | null = null
  #needs: CommitNeeds | null = null
  /** What runs on the log now. */
  #tail: Promise<unknown> = Promise.resolve()

  constructor(opts: CommitHostOptions) {
    this.#opts = opts
  }

  async begin(): Promise<Result<'commit.begin'>> {
    const id = ++this.#id
    this.#commit = null
    await this.#tail
    await Promise.all([this.#opts.indexer.drained(), this.#opts.index.loaded()])
    const log = await this.#opts.ownLog()
    if (id !== this.#id) throw stale()
    this.#commit = { id, log }
    this.#needs = { log: log.key, from: log.length, found: new BlockSet() }
    faultPoint('begun')
    return {
      commit: id,
      firstBlock: log.length,
      keyEpoch: this.#opts.keyEpoch(),
      compressionLevel: this.#opts.compressionLevel() ?? COMPRESSION_LEVEL,
      keys: this.#opts.keysJson(log.key)
    }
  }

  /** Nobody may delete these blocks now. */
  needs(): CommitNeeds | null {
    return this.#needs
  }

  async lookup(ids: Buffer): Promise<Reply> {
    if (ids.byteLength % CHUNK_ID_BYTES !== 0) throw malformed()
    const { words, handles } = await this.#opts.index.lookup(ids)
    const logs: Record<number, string> = {}
    const doomed = this.#opts.doomed()
    for (const handle of handles) {
      const log = this.#opts.index.keyOf(handle)
      const gone = this.#opts.mayReference(log) ? doomed?.of(log) : EVERY
      take(words, handle, gone, this.#needs?.found.of(log))
      logs[handle] = log.toString('hex')
    }
    return new Reply({ logs }, [Buffer.from(words.buffer)])
  }

  async ids({ logs }: Params<'commit.ids'>, attachment: Buffer): Promise<Reply> {
    const segments = wordsOf(attachment)
    const count = segments.length / 2
    if (count * SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES > IPC_FRAME_BYTES_MAX / 2) throw malformed()
    for (let i = 0; i < segments.length; i += 2) if (segments[i] >= logs.length) throw malformed()
    const keys = logs.map((log) => Buffer.from(log, 'hex'))
    return new Reply(null, [await this.#opts.indexer.idsOf(keys, segments)])
  }

  append(params: Params<'commit.append'>, attachment: Buffer): Promise<void> {
    return this.#next(params.commit, async (log) => {
      const { first, lengths, chunks } = params
      let at = 0
      const blocks = lengths.map((length) => attachment.subarray(at, (at += length)))
      const ids = attachment.subarray(at)
      const total = chunks.reduce((sum, count) => sum + count, 0)
      if (
        at > attachment.byteLength ||
        ids.byteLength !== total * CHUNK_ID_BYTES ||
        chunks.length !== blocks.length
      ) {
        throw malformed()
      }
      await appendAt(log, first, blocks)
      faultPoint('appended')
      await this.#opts.index.add(log.key, first, chunks, ids)
      faultPoint('indexed')
    })
  }

  async logInfo({ logs }: Params<'commit.logInfo'>): Promise<Result<'commit.logInfo'>> {
    const heads = logs.map(async (name) => {
      const log = await this.#opts.store.open(Buffer.from(name, 'hex'))
      const { length } = log
      return { length, treeHash: (await log.treeHash(length)).toString('hex') }
    })
    return { logs: await Promise.all(heads) }
  }

  /** Makes the version exist: durable and announced on return. */
  publish(params: Params<'commit.publish'>, record: Buffer): Promise<void> {
    return this.#next(params.commit, async (log) => {
      this.#commit = null
      await appendAt(log, params.block, [record])
      faultPoint('recorded')
      await this.#opts.index.add(log.key, params.block, [0], Buffer.alloc(0))
      await this.#opts.store.flush()
      faultPoint('flushed')
      await this.#opts.announce(params, log.key, params.block)
      faultPoint('announced')
      this.#needs = null
    })
  }

  /** Ends a commit that makes no version, only maps of versions that there are. Durable and announced on return. */
  reissue({ commit, maps }: Params<'commit.reissue'>): Promise<void> {
    const { announceMaps } = this.#opts
    if (announceMaps === undefined) throw malformed()
    return this.#next(commit, async (log) => {
      this.#commit = null
      await this.#opts.store.flush()
      faultPoint('maps-flushed')
      await announceMaps(maps, log.key)
      faultPoint('maps-announced')
      this.#needs = null
    })
  }

  /** Runs after what ran before, if the commit is still the one. */
  #next<T>(commit: number, run: (log: Log) => Promise<T>): Promise<T> {
    const result = this.#tail.then(() => {
      if (this.#commit?.id !== commit) throw stale()
      const { log } = this.#commit
      if (log.writable) return run(log)
      throw new HyperparcelError('LOG_RETIRED', 'The log of this device was retired meanwhile', {
        hint: 'Try again: a new one is started.'
      })
    })
    this.#tail = result.catch(() => {}) // its caller hears of it
    return result
  }
}

const EVERY = { has: () => true }

/** Places in that log: those in blocks that are `gone` are no places, the others are noted in `found`. */
function take(
  words: Uint32Array,
  handle: number,
  gone: { has(block: number): boolean } | undefined,
  found: Bits | undefined
): void {
  for (let i = 0; i < words.length; i += 3) {
    if (words[i] !== handle + 1) continue
    if (gone?.has(words[i + 1]) === true) words.fill(0, i, i + 3)
    else found?.add(words[i + 1])
  }
}

async function appendAt(log: Log, first: number, blocks: Buffer[]): Promise<void> {
  if (log.length !== first) throw stale()
  if ((await log.append(blocks)) !== first) throw stale()
}

/** As the attachment of a frame has them: little endian, at any offset. */
function wordsOf(data: Buffer): Uint32Array {
  if (data.byteLength % 8 !== 0) throw malformed()
  const words = new Uint32Array(data.byteLength / 4)
  Buffer.from(words.buffer).set(data)
  return words
}

function stale(): HyperparcelError {
  return new HyperparcelError('COMMIT_STALE', 'Another commit of the parcel has begun', {
    hint: 'Nothing was lost: try again.'
  })
}

function malformed(): HyperparcelError {
  return new HyperparcelError('FORMAT_INVALID', 'A message of a commit is malformed')
}
