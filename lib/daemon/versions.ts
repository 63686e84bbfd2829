/**
 * Versions as the daemon sees them: records opened, closures walked, what is stored here and what is missing.
 * Maps and records are no plaintext of a parcel; chunk data is never opened here.
 */
import { HyperparcelError } from '../base/errors.ts'
import { CHUNK_BYTES } from '../base/limits.ts'
import type { ProgressReporter } from '../base/progress.ts'
import type { LogKeys } from '../chunk/segment.ts'
import { openBlock } from '../chunk/sealed-block.ts'
import type { VersionInfo } from '../fleet/index.ts'
import { KIND } from '../format/sealed.ts'
import {
  VERSION_BYTES_MAX,
  decodeVersion,
  versionId,
  type VersionRecord
} from '../format/version.ts'
import type { BlockReader } from '../parcel/block-reader.ts'
import { LocalData, type Local } from '../parcel/local-data.ts'
import { closureOf, type Closure, type ClosureOptions } from '../parcel/closure.ts'
import { VersionReader } from '../parcel/version-reader.ts'
import type { BlockFetcher, FetchPriority, LogStorePort } from '../store/ports.ts'

const RECORDS_CACHED_MAX = 64
const CLOSURES_CACHED_MAX = 8
/** Blocks asked for at once by a background fetch, so that progress shows. */
const FETCH_BATCH = 256

export interface VersionsOptions {
  store: LogStorePort
  fetcher: BlockFetcher
  keysOf(log: Buffer): LogKeys
}

/** How blocks that are not here are got: not at all, or with that priority. */
export type Reach = { local: true } | { priority: FetchPriority; signal?: AbortSignal }

export interface CompleteReach {
  priority: FetchPriority
  signal?: AbortSignal
  /** Resolves when more blocks may be asked for, with their number. */
  pace?: () => Promise<number>
}

export interface OpenedVersion {
  record: VersionRecord
  /** Bytes of the record, what its id is the hash of. */
  encoded: Buffer
}

export interface Holdings {
  /** Bytes of the version that are stored here, and of all of it. */
  bytesLocal: number
  bytesTotal: number
  /** Blocks that are not stored here, by log number. */
  missing: { log: Buffer; blocks: number[] }[]
}

export class Versions {
  readonly #opts: VersionsOptions
  readonly #records = new Map<string, OpenedVersion>()
  readonly #closures = new Map<string, Closure>()
  /** Versions (hex) that somebody is working with, how many times. */
  readonly #pins = new Map<string, number>()
  #doomed: ReadonlySet<string> = new Set()

  constructor(opts: VersionsOptions) {
    this.#opts = opts
  }

  /** Keeps the version from being pruned until the returned function is called. Throws `VERSION_PRUNED`. */
  pin(info: VersionInfo): () => void {
    this.refuseDoomed(info)
    const name = info.version.toString('hex')
    this.#pins.set(name, (this.#pins.get(name) ?? 0) + 1)
    let pinned = true
    return () => {
      if (!pinned) return
      pinned = false
      const left = this.#pins.get(name)! - 1
      if (left > 0) this.#pins.set(name, left)
      else this.#pins.delete(name)
    }
  }

  /** Ids (hex) of versions that are pinned now. */
  pinned(): string[] {
    return [...this.#pins.keys()]
  }

  /** From now on these (ids in hex) can not be used; an empty set ends that. */
  doom(versions: ReadonlySet<string>): void {
    this.#doomed = versions
    for (const name of versions) {
      for (const suffix of ['', '-', '-memory']) this.#closures.delete(name + suffix)
    }
  }

  /** Throws `VERSION_PRUNED` for a version that is being pruned at the moment. */
  refuseDoomed(info: VersionInfo): void {
    if (!this.#doomed.has(info.version.toString('hex'))) return
    throw new HyperparcelError('VERSION_PRUNED', `Version ${info.number} is being pruned`, {
      hint: 'Another device may still have it: try again when that is done.'
    })
  }

  /** Opens and checks a version's record. Rejects with `DATA_UNREACHABLE` when it is out of reach. */
  async open(info: VersionInfo, reach: Reach): Promise<OpenedVersion> {
    const name = info.version.toString('hex')
    const cached = this.#records.get(name)
    if (cached !== undefined) return cached
    const [block] = await this.#read(info.log, [info.block], reach)
    const key = this.#opts.keysOf(info.log).meta
    const encoded = openBlock(KIND.VERSION, block, info.log, info.block, key, VERSION_BYTES_MAX)
    if (!versionId(encoded).equals(info.version)) {
      throw new HyperparcelError('DATA_CORRUPT', `Version ${info.number} is not what it says`)
    }
    const opened = { record: decodeVersion(encoded), encoded }
    remember(this.#records, name, opened, RECORDS_CACHED_MAX)
    return opened
  }

  /** Every block that the version needs. */
  async closure(info: VersionInfo, reach: Reach, opts: ClosureOptions = {}): Promise<Closure> {
    const without = opts.withoutMemory === true ? '-memory' : opts.withoutState === true ? '-' : ''
    const name = info.version.toString('hex') + without
    const cached = this.#closures.get(name)
    if (cached !== undefined) return cached
    const { record } = await this.open(info, reach)
    const reader: BlockReader = {
      read: (log, blocks) => this.#read(record.logs[log].key, blocks, reach)
    }
    const metaKey = (log: number) => this.#opts.keysOf(record.logs[log].key).meta
    const closure = await closureOf(new VersionReader(record, reader, metaKey), opts)
    if (without === '') closure.add(logNumber(record, info.log), info.block, 0)
    remember(this.#closures, name, closure, CLOSURES_CACHED_MAX)
    return closure
  }

  /** What of the version is stored here. Rejects with `DATA_UNREACHABLE` when not even its maps are in reach. */
  async holdings(info: VersionInfo, reach: Reach, opts: ClosureOptions = {}): Promise<Holdings> {
    const { record } = await this.open(info, reach)
    const closure = await this.closure(info, reach, opts)
    const missing: Holdings['missing'] = []
    let bytesMissing = 0
    for (const [number, blocks] of closure.logs) {
      const log = await this.#opts.store.open(record.logs[number].key)
      const stored = await log.durableTest()
      const absent: number[] = []
      for (const [block, chunks] of blocks) {
        if (stored(block)) continue
        absent.push(block)
        bytesMissing += chunks * CHUNK_BYTES
      }
      if (absent.length > 0) missing.push({ log: log.key, blocks: absent.sort((a, b) => a - b) })
    }
    return {
      bytesLocal: Math.max(0, closure.bytes - bytesMissing),
      bytesTotal: closure.bytes,
      missing
    }
  }

  /** Is all of the version stored here, durably? */
  async holds(info: VersionInfo): Promise<boolean> {
    return (await this.local([info]))[0].whole
  }

  /** What of many versions is stored here, durably; nothing of one whose record is not, or whose log is not known yet. */
  async local(infos: VersionInfo[]): Promise<Local[]> {
    const data = new LocalData({
      read: async (key, block) => (await this.#opts.store.peek(key))?.read(block) ?? null,
      metaKey: (key) => this.#opts.keysOf(key).meta,
      stored: async (key) => (await this.#opts.store.peek(key))?.durableTest() ?? (() => false)
    })
    const found: Local[] = []
    for (const info of infos) {
      try {
        const { record } = await this.open(info, { local: true })
        const { bytes, whole } = await data.version(record)
        const test = await (await this.#opts.store.peek(info.log))?.durableTest()
        found.push({ bytes, whole: whole && test?.(info.block) === true })
      } catch (err) {
        const { code } = err as { code?: string }
        if (code !== 'DATA_UNREACHABLE' && code !== 'KEY_MISSING') throw err
        found.push({ bytes: 0, whole: false })
      }
    }
    return found
  }

  /** Fetches what is missing of a version. Resolves with the number of blocks that had to come. */
  async complete(
    info: VersionInfo,
    reach: CompleteReach,
    opts: ClosureOptions,
    progress: ProgressReporter
  ): Promise<number> {
    const unpin = this.pin(info)
    try {
      return await this.#complete(info, reach, opts, progress)
    } finally {
      unpin()
    }
  }

  async #complete(
    info: VersionInfo,
    reach: CompleteReach,
    opts: ClosureOptions,
    progress: ProgressReporter
  ): Promise<number> {
    const { missing, bytesLocal, bytesTotal } = await this.holdings(info, reach, opts)
    const total = missing.reduce((sum, { blocks }) => sum + blocks.length, 0)
    const bytesEach = total === 0 ? 0 : (bytesTotal - bytesLocal) / total
    let done = 0
    for (const { log, blocks } of missing) {
      let at = 0
      while (at < blocks.length) {
        const batch = (await reach.pace?.()) ?? FETCH_BATCH
        const some = blocks.slice(at, at + batch)
        at += some.length
        await this.#opts.fetcher.fetch(log, some, reach)
        done += some.length
        progress({
          phase: 'fetching what is missing',
          done: Math.round(done * bytesEach),
          total: Math.round(total * bytesEach),
          unit: 'bytes'
        })
      }
    }
    return total
  }

  async #read(key: Buffer, blocks: number[], reach: Reach): Promise<Buffer[]> {
    const log = await this.#opts.store.open(key)
    const found = await Promise.all(blocks.map((block) => log.read(block)))
    const absent = blocks.filter((_, i) => found[i] === null)
    if (absent.length > 0 && !('local' in reach)) {
      await this.#opts.fetcher.fetch(key, absent, reach)
      for (const [i, block] of blocks.entries()) found[i] ??= await log.read(block)
    }
    return found.map((block) => {
      if (block !== null) return block
      throw new HyperparcelError('DATA_UNREACHABLE', 'A part of the version is not stored here')
    })
  }
}

function logNumber(record: VersionRecord, log: Buffer): number {
  const number = record.logs.findIndex((ref) => ref.key.equals(log))
  if (number !== -1) return number
  throw new HyperparcelError('FORMAT_INVALID', 'A version lies in a log that it does not name')
}

function remember<T>(map: Map<string, T>, name: string, value: T, max: number): void {
  if (map.size >= max) map.delete(map.keys().next().value!)
  map.set(name, value)
}
