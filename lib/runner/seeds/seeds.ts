/**
 * Segments out of seeds: images and directories that lie nearby, used as hints by chunk id.
 *
 *   segment not stored here ─▶ daemon: its chunk ids (stored before, or asked of a peer: 560 bytes instead of some 30 KB)
 *     ─▶ seed process: where are chunks with these ids? reads them ─▶ here: hash each, compare with its id ─▶ cache
 *
 * Invariants
 * - Nothing is used that does not have the id which the author of the segment sealed into it.
 * - Only this process and the one that it started for seeds see data. Neither writes any.
 * - Whatever a seed does, a lookup ends within `READ_MS` and `IDS_MS`; then the segment is fetched as without seeds.
 * - Nothing of it is stored: the sealed block can be had of its author's log only.
 */
import safetyCatch from 'safety-catch'
import { CHUNK_BYTES, CHUNK_ID_BYTES, SEGMENT_CHUNKS_MAX } from '../../base/limits.ts'
import { writeChunkId } from '../../chunk/ids.ts'
import type { SegmentSeeds, UseSegment } from '../../volume/segment-loader.ts'
import type { Host } from '../host.ts'
import type { SeedJson } from '../protocol.ts'
import { startSeedProcess, type SeedProcess } from './process.ts'

const IDS_MS = 10_000
const READ_MS = 3000
/** So long nobody looks into seeds that hung. */
const REST_MS = 60_000
/** Lookups that are judged together: where fewer than one in 16 is good for anything, the next ones are left out. */
const JUDGED = 128
const LEFT_OUT = 1024

export interface SeedsOptions {
  host: Pick<Host, 'call' | 'attached'>
  dedupKey: Buffer
  logKey(number: number): Buffer
  /** Only for tests. */
  start?: () => SeedProcess
}

export class Seeds implements SegmentSeeds {
  readonly #opts: SeedsOptions
  #seeds: SeedJson[] = []
  #process: SeedProcess | null = null
  #restUntil = 0
  #asked = 0
  #found = 0
  #leftOut = 0

  constructor(opts: SeedsOptions) {
    this.#opts = opts
  }

  get active(): boolean {
    if (this.#seeds.length === 0 || !this.#opts.host.attached) return false
    return performance.now() >= this.#restUntil
  }

  /** From now on these. */
  use(seeds: SeedJson[]): void {
    this.#end()
    this.#seeds = seeds
    this.#restUntil = this.#asked = this.#found = this.#leftOut = 0
  }

  async find(log: number, blocks: number[], use: UseSegment): Promise<void> {
    if (this.#leftOut > 0) {
      this.#leftOut -= blocks.length
      return
    }
    try {
      await this.#find(this.#opts.logKey(log), blocks, use)
    } catch (err) {
      safetyCatch(err)
    }
  }

  close(): void {
    this.#seeds = []
    this.#end()
  }

  async #find(log: Buffer, blocks: number[], use: UseSegment): Promise<void> {
    const seeds = this.#seeds
    const params = { log: log.toString('hex'), blocks }
    const asked = await this.#opts.host.call('segments.ids', params, {
      signal: AbortSignal.timeout(IDS_MS)
    })
    const counts = asked.json.chunks
    const ids = asked.attachment
    const known = counts.filter((count) => count > 0)
    if (known.length === 0) return
    const answer = await this.#read(known, ids)
    if (answer === null || seeds !== this.#seeds) return
    const used = seeds.map(({ path }) => ({ path, segments: 0, bytes: 0 }))
    let [at, idsAt, n] = [0, 0, 0]
    for (const [i, count] of counts.entries()) {
      if (count === 0) continue
      const seed = answer.seeds[n++]
      const idsEnd = idsAt + count * CHUNK_ID_BYTES
      if (seed >= 0) {
        const chunks = answer.data.subarray(at, (at += count * CHUNK_BYTES))
        if (this.#verifies(chunks, ids.subarray(idsAt, idsEnd))) {
          used[seed].segments++
          used[seed].bytes += chunks.byteLength
          use(i, chunks)
        }
      }
      idsAt = idsEnd
    }
    this.#judge(
      known.length,
      used.reduce((sum, { segments }) => sum + segments, 0)
    )
    const some = used.filter(({ segments }) => segments > 0)
    if (some.length > 0) this.#opts.host.call('seeds.used', some).catch(safetyCatch)
  }

  async #read(counts: number[], ids: Buffer): Promise<{ seeds: number[]; data: Buffer } | null> {
    const process = this.#started()
    try {
      const { json, attachment } = await process.channel.callRaw<{ seeds: number[] }>(
        'read',
        { counts },
        { attachments: [ids], signal: AbortSignal.timeout(READ_MS) }
      )
      return { seeds: json.seeds, data: attachment }
    } catch {
      this.#end()
      this.#restUntil = performance.now() + REST_MS
      return null
    }
  }

  #verifies(chunks: Buffer, ids: Buffer): boolean {
    if (chunks.byteLength !== (ids.byteLength / CHUNK_ID_BYTES) * CHUNK_BYTES) return false
    for (let i = 0; i * CHUNK_BYTES < chunks.byteLength; i++) {
      writeChunkId(SCRATCH, i, chunks, i * CHUNK_BYTES, this.#opts.dedupKey)
    }
    return SCRATCH.subarray(0, ids.byteLength).equals(ids)
  }

  #judge(asked: number, found: number): void {
    this.#asked += asked
    this.#found += found
    if (this.#asked < JUDGED) return
    if (this.#found * 16 < this.#asked) this.#leftOut = LEFT_OUT
    this.#asked = this.#found = 0
  }

  #started(): SeedProcess {
    if (this.#process !== null) return this.#process
    const started = (this.#opts.start ?? startSeedProcess)()
    started.channel.once('close', () => {
      if (this.#process === started) this.#process = null
    })
    // Calls are answered in order of their arrival here: what is read comes behind this.
    started.channel
      .call('open', { indexes: this.#seeds.map(({ index }) => index) })
      .catch(safetyCatch)
    this.#process = started
    return started
  }

  #end(): void {
    this.#process?.channel.close()
    this.#process?.child.kill('SIGKILL')
    this.#process = null
  }
}

const SCRATCH = Buffer.allocUnsafeSlow(SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES)
