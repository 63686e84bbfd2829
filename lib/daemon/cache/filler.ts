/**
 * Gets for one fleet what is to be held, and lets go of what makes room for it: carries out what `plan.ts` decides.
 *
 * Invariants
 * - Room is made before anything comes: the quota is exceeded by one batch of blocks at most.
 * - What is to be held never goes for something else; the fleet's registry is counted, and never goes.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import safetyCatch from 'safety-catch'
import { withDeadline } from '../../base/deadline.ts'
import { HyperparcelError } from '../../base/errors.ts'
import type { Logger } from '../../base/logger.ts'
import { BLOCK_BYTES_MAX } from '../../base/limits.ts'
import { RANGE_BLOCKS } from '../../format/cache-state.ts'
import type { BlockFetcher } from '../../store/ports.ts'
import type { LogStore } from '../../store/log-store.ts'
import type { Held, HeldRange } from './held.ts'
import type { ListedVersion, PinBook } from './pin-book.ts'
import { evictionOrder, planCache, type CachePlan } from './plan.ts'

/** Blocks asked for at once: up to 4 MiB. */
const BATCH_BLOCKS = 64
/** Nothing came for that long: something else is tried, and this again later. */
const STALL_MS = 15_000
const RETRY_MS = 30_000
/** Of cleared blocks; less is not worth the writing of files anew. */
const COMPACT_BYTES_MIN = 8 * 1024 ** 2

export interface FillerOptions {
  store: LogStore
  fetcher: BlockFetcher
  pins: PinBook
  held: Held
  logger: Logger
  quotaBytes(): number
  /** May that log be stored for this fleet? Another one on this cache may have it already. */
  claims(log: Buffer): boolean
  /** Keys (hex). */
  registryLogs(): ReadonlySet<string>
  /** Blocks went: the disk should get their space back. */
  compact(): Promise<void>
  signal: AbortSignal
}

export class Filler {
  readonly #opts: FillerOptions
  /** As it was decided last; null before. */
  plan: CachePlan<ListedVersion> | null = null
  /** There is no room for all that should be held. */
  full = false
  #clearedBytes = 0
  #again = false
  #running: Promise<void> | null = null
  #timer: NodeJS.Timeout | null = null

  constructor(opts: FillerOptions) {
    this.#opts = opts
  }

  /** Something changed: lists, the quota, who is connected. */
  wake(): void {
    if (this.#opts.signal.aborted) return
    this.#again = true
    this.#running ??= this.#run()
      .catch(safetyCatch)
      .finally(() => (this.#running = null))
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer)
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal, logger } = this.#opts
    while (this.#again && !signal.aborted) {
      this.#again = false
      try {
        if (!(await this.#fill())) this.#retryLater()
        if (this.#clearedBytes >= COMPACT_BYTES_MIN) {
          this.#clearedBytes = 0
          await this.#opts.compact()
        }
      } catch (err) {
        if (signal.aborted) return
        logger.warn({ err: HyperparcelError.from(err).toJSON() }, 'The cache could not go on')
        await sleep(STALL_MS, undefined, { signal }).catch(safetyCatch)
        this.#again = true
      }
    }
  }

  #retryLater(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.wake(), RETRY_MS).unref()
  }

  /** True when all of it is here that should be. */
  async #fill(): Promise<boolean> {
    const { pins, held } = this.#opts
    const plan = planCache(pins.versions(), this.#opts.quotaBytes() - this.#otherBytes())
    this.plan = plan
    this.full = plan.bytesOver > 0
    await this.#makeRoom(0)
    let complete = true
    for (const { blocks, bytes } of plan.keep) {
      const estimate = blocks.size === 0 ? 0 : bytes / blocks.size
      for (const { log, start, end } of blocks.runs()) {
        if (!this.#opts.claims(log)) continue
        for (let at = start; at < end && !this.#again;) {
          const batch: number[] = []
          for (; at < end && batch.length < BATCH_BLOCKS; at++) {
            if (!held.blocks.has(log, at)) batch.push(at)
          }
          if (batch.length === 0) continue
          const needed = Math.min(BLOCK_BYTES_MAX, estimate) * batch.length
          if (!(await this.#makeRoom(needed))) {
            this.full = true
            return false
          }
          if (await this.#fetch(log, batch)) continue
          complete = false
          break
        }
        if (this.#again) return complete
      }
    }
    return complete
  }

  /** What is held beside what lists ask for, and never goes: the registry. */
  #otherBytes(): number {
    const registry = this.#opts.registryLogs()
    const ranges = this.#opts.held.ranges().filter(({ log }) => registry.has(log.toString('hex')))
    return ranges.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  async #fetch(log: Buffer, batch: number[]): Promise<boolean> {
    const { fetcher, signal } = this.#opts
    try {
      await withDeadline(STALL_MS, signal, (either) =>
        fetcher.fetch(log, batch, { priority: 'hoard', signal: either })
      )
    } catch (err) {
      signal.throwIfAborted()
      if ((err as { code?: string }).code === 'DISK_FULL') throw err
      return false
    } finally {
      await this.count(log, batch)
    }
    return true
  }

  /** Blocks that may have come. */
  async count(key: Buffer, blocks: number[]): Promise<void> {
    const log = await this.#opts.store.open(key)
    const here = await log.hasEach(blocks)
    const found = blocks.filter((_, i) => here[i])
    const bytes = await log.blockBytes(found)
    for (const [i, block] of found.entries()) this.#opts.held.add(key, block, bytes[i])
  }

  /** False where there is no room for that many bytes and nothing is left to go. */
  async #makeRoom(bytes: number): Promise<boolean> {
    const { held, pins } = this.#opts
    const fits = () => held.bytes + bytes <= this.#opts.quotaBytes()
    if (fits()) return true
    const listed = pins.logs()
    const registry = this.#opts.registryLogs()
    const order = evictionOrder(
      held.ranges().filter(({ log }) => !registry.has(log.toString('hex'))),
      ({ log }) => listed.has(log.toString('hex'))
    )
    for (const range of order) {
      await this.#evict(range)
      if (fits()) return true
    }
    return false
  }

  /** All of the range that is not to be held. */
  async #evict({ log: key, range }: HeldRange): Promise<void> {
    const { store, held } = this.#opts
    const keep = this.plan!.blocks.of(key)
    const here = held.blocks.of(key)
    const gone: number[] = []
    for (let block = range * RANGE_BLOCKS; block < (range + 1) * RANGE_BLOCKS; block++) {
      if (here.has(block) && !keep.has(block)) gone.push(block)
    }
    if (gone.length === 0) return
    const log = await store.open(key)
    const bytes = await log.blockBytes(gone)
    for (const { start, end } of runs(gone)) await log.clear(start, end)
    for (const [i, block] of gone.entries()) held.remove(key, block, bytes[i])
    this.#clearedBytes += bytes.reduce((sum, some) => sum + some, 0)
  }
}

function runs(sorted: number[]): { start: number; end: number }[] {
  const found: { start: number; end: number }[] = []
  for (const block of sorted) {
    const last = found.at(-1)
    if (last?.end === block) last.end++
    else found.push({ start: block, end: block + 1 })
  }
  return found
}
