/**
 * While a VM runs: chunks that were changed and then left alone are stored already, so that a suspend finds them by
 * their ids and has little left to do. A little at a time, so that the guest does not notice.
 *
 * Invariants
 * - One round at a time, and none after `stop` has ended: then a commit may begin.
 * - Nothing depends on it. A round that fails gives back what it took; the next one begins anew.
 * - What is stored and then changed again is lost space until the next prune: at most as much as is changed now, twice.
 */
import safetyCatch from 'safety-catch'
import { CHUNK_BYTES } from '../base/limits.ts'
import { Ahead } from '../parcel/ahead.ts'
import { PAGE_CHUNKS, type QuietPages } from '../volume/quiet-pages.ts'
import type { Volume } from '../volume/volume.ts'
import type { Context } from './context.ts'
import { RemoteSink } from './remote-sink.ts'
import { freeBytes } from './space.ts'

const ROUND_MS = 250
/** One volume in a round at most: 16 MiB a second. */
const ROUND_PAGES = 16
const ROUND_CHUNKS = ROUND_PAGES * PAGE_CHUNKS
/** Without a write: 10 seconds. Guest RAM comes here when the kernel writes it back, after half a minute. */
const QUIET_ROUNDS = 40
const WASTE_FACTOR = 3

interface Watched {
  volume: Volume
  pages: QuietPages
  /** Where the next round goes on. */
  at: number
}

export interface StoreAheadOptions {
  /** Not while less is free than this. */
  freeBytesMin: number
}

export class StoreAhead {
  readonly #context: Context
  readonly #watched: Watched[]
  readonly #freeBytesMin: number
  #timer: NodeJS.Timeout | null = null
  #round: Promise<void> = Promise.resolve()
  #ahead: Ahead | null = null
  #buffer: Buffer = Buffer.allocUnsafeSlow(ROUND_CHUNKS * CHUNK_BYTES)

  /** Follows the volumes that can be written to, from now on. */
  constructor(context: Context, volumes: Iterable<Volume>, { freeBytesMin }: StoreAheadOptions) {
    this.#context = context
    this.#freeBytesMin = freeBytesMin
    this.#watched = [...volumes]
      .filter((volume) => volume.overlay !== null)
      .map((volume) => ({ volume, pages: volume.watch(), at: 0 }))
  }

  /** Unsealed bytes that were new, since the last version. */
  get bytes(): number {
    return this.#context.ahead.bytesNew + (this.#ahead?.bytesNew ?? 0)
  }

  start(): void {
    this.#timer ??= setTimeout(() => {
      this.#round = this.#run()
        .catch(safetyCatch) // the daemon is away, the disk is full …: tried again
        .finally(() => {
          if (this.#timer === null) return
          this.#timer = null
          this.start()
        })
    }, ROUND_MS)
    this.#timer.unref()
  }

  /** Everything that was stored can be found on return. Does not fail. */
  async stop(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    await this.#round
    await this.#ahead?.finish().catch(safetyCatch)
    this.#forget()
  }

  async #run(): Promise<void> {
    for (const { pages } of this.#watched) pages.tick()
    if (this.#watched.every(({ pages }) => pages.next(0, QUIET_ROUNDS) === -1)) return
    if (!(await this.#mayStore())) return
    for (const watched of this.#watched) {
      const taken = takePages(watched)
      if (taken.length === 0) continue
      try {
        await this.#store(watched.volume, taken)
      } catch (err) {
        for (const page of taken) watched.pages.giveBack(page)
        this.#forget()
        throw err
      }
    }
  }

  async #mayStore(): Promise<boolean> {
    const changed = this.#watched.reduce((sum, { volume }) => sum + volume.dirtyBytes, 0)
    if (this.bytes > WASTE_FACTOR * changed) return false
    return (await freeBytes(this.#context.params.stateDirectory)) > this.#freeBytesMin
  }

  async #store(volume: Volume, pages: number[]): Promise<void> {
    const buffer = this.#buffer
    const reads: (Promise<void> | void)[] = []
    let chunks = 0
    for (const page of pages) {
      for (const { first, count } of volume.changed(page * PAGE_CHUNKS, PAGE_CHUNKS)) {
        const target = buffer.subarray(chunks * CHUNK_BYTES, (chunks + count) * CHUNK_BYTES)
        reads.push(volume.pread(target, first * CHUNK_BYTES))
        chunks += count
      }
    }
    const ended = await Promise.allSettled(reads)
    for (const end of ended) if (end.status === 'rejected') throw end.reason
    if (chunks === 0) return
    const { host, dedupKey, threads } = this.#context
    this.#ahead ??= new Ahead(await RemoteSink.begin(host), dedupKey, threads)
    this.#buffer = await this.#ahead.add(buffer, chunks)
  }

  /** The next round begins a commit of its own. */
  #forget(): void {
    const { ahead } = this.#context
    ahead.bytesNew += this.#ahead?.bytesNew ?? 0
    ahead.bytesStored += this.#ahead?.bytesStored ?? 0
    this.#ahead = null
    if (this.#buffer.byteLength === 0) {
      this.#buffer = Buffer.allocUnsafeSlow(ROUND_CHUNKS * CHUNK_BYTES)
    }
  }
}

/** Some quiet pages, from where the last round ended. */
function takePages(watched: Watched): number[] {
  const { pages } = watched
  const taken: number[] = []
  for (let page = pages.next(watched.at, QUIET_ROUNDS); ; page = pages.next(page, QUIET_ROUNDS)) {
    watched.at = page === -1 ? 0 : page + 1
    if (page === -1) break
    pages.take(page)
    taken.push(page)
    if (taken.length === ROUND_PAGES) break
  }
  return taken
}
