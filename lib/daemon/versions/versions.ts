/**
 * Versions as the daemon sees them: records opened, closures walked, what is stored here and what is missing.
 * Maps and records are no plaintext of a parcel; chunk data is never opened here.
 */
import { HyperparcelError } from '../../base/errors.ts'
import { CHUNK_BYTES } from '../../base/limits.ts'
import type { ProgressReporter } from '../../base/progress.ts'
import { openBlock } from '../../chunk/sealed-block.ts'
import type { VersionInfo } from '../../fleet/index.ts'
import { KIND } from '../../format/sealed.ts'
import {
  VERSION_BYTES_MAX,
  decodeVersion,
  versionId,
  type VersionRecord
} from '../../format/version.ts'
import type { BlockReader } from '../../parcel/block-reader.ts'
import type { Local } from '../../parcel/local-data.ts'
import { closureOf, type Closure, type ClosureOptions } from '../../parcel/closure.ts'
import type { RecordPlace } from '../../parcel/mark.ts'
import type { BlockPlace } from '../../parcel/reissued-version.ts'
import { VersionReader } from '../../parcel/version-reader.ts'
import type { BlockFetcher, FetchPriority } from '../../store/ports.ts'
import { MapChoice, nameOf, type MapChoiceOptions } from './map-choice.ts'

const RECORDS_CACHED_MAX = 64
const CLOSURES_CACHED_MAX = 8
/** Blocks asked for at once by a background fetch, so that progress shows. */
const FETCH_BATCH = 256

export interface VersionsOptions extends Omit<MapChoiceOptions, 'read'> {
  fetcher: BlockFetcher
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
  /** The reissued map that `record` was given; null where its maps are its own. */
  annex: (BlockPlace & { encoded: Buffer }) | null
}

export interface Holdings {
  /** Bytes of the version that are stored here, and of all of it. */
  bytesLocal: number
  bytesTotal: number
  /** Blocks that are not stored here, by log number. */
  missing: { log: Buffer; blocks: number[] }[]
}

/** What is stored of a version, and by which reissued map it was read. */
export interface StoredVersion extends Local {
  annex: BlockPlace | null
}

export class Versions {
  readonly #opts: VersionsOptions
  readonly #maps: MapChoice
  readonly #records = new Map<string, OpenedVersion>()
  readonly #closures = new Map<string, Closure>()
  /** Versions (hex) that somebody is working with, how many times. */
  readonly #pins = new Map<string, number>()
  #doomed: ReadonlySet<string> = new Set()

  constructor(opts: VersionsOptions) {
    this.#opts = opts
    this.#maps = new MapChoice({
      ...opts,
      read: async (log, block, reach) => (await this.#read(log, [block], reach))[0]
    })
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
    this.forget()
  }

  /** Blocks were deleted: what was known of versions may not be true any more. */
  forget(): void {
    this.#maps.forget()
    this.#closures.clear()
  }

  /** Throws `VERSION_PRUNED` for a version that is being pruned at the moment. */
  refuseDoomed(info: VersionInfo): void {
    if (!this.#doomed.has(info.version.toString('hex'))) return
    throw new HyperparcelError('VERSION_PRUNED', `Version ${info.number} is being pruned`, {
      hint: 'Another device may still have it: try again when that is done.'
    })
  }

  /**
   * Opens and checks a version's record, with the maps that it is best read through. Rejects with `DATA_UNREACHABLE`
   * when it is out of reach.
   */
  async open(info: VersionInfo, reach: Reach): Promise<OpenedVersion> {
    return this.#maps.choose(info, await this.record(info, reach), reach)
  }

  /**
   * How the version may be read with what is stored here, the preferred first: by its own maps, by reissued ones.
   * Rejects where the own reissued map is here and damaged.
   */
  async places(info: VersionInfo): Promise<RecordPlace[]> {
    const { version, log, block } = info
    const byRecord = { version, log, block, annex: null }
    if (this.#opts.annexes(version).length === 0) return [byRecord]
    const opened = await this.record(info, { local: true }).catch(unlessAbsent)
    if (opened === null) return [byRecord]
    const stored = await this.#maps.stored(info, opened, true)
    return stored.map(({ annex }) => ({ ...byRecord, annex }))
  }

  /**
   * What to check of a version: by the own reissued map, readable or not, where it is here; else by the map of which
   * most is here, and where maps are damaged by all of them.
   */
  async placesToCheck(info: VersionInfo): Promise<RecordPlace[]> {
    const { version, log, block } = info
    for (const annex of this.#opts.annexes(version)) {
      if (!annex.device.equals(this.#opts.self)) continue
      const own = await this.#opts.store.peek(annex.log)
      if ((await own?.has(annex.block)) === true) return [{ version, log, block, annex }]
    }
    try {
      const [{ annex }] = await this.local([info])
      return [{ version, log, block, annex }]
    } catch {
      return this.places(info)
    }
  }

  /** Is all that these reissued maps name stored here, durably? Rejects where one does not fit its version. */
  async areWholeUnder(maps: (BlockPlace & { info: VersionInfo })[]): Promise<boolean> {
    const reach = { local: true } as const
    const data = this.#maps.localData()
    for (const { info, log, block } of maps) {
      const opened = await this.record(info, reach)
      const { record } = await this.#maps.under(info, opened, { log, block }, reach)
      const { whole } = await data.version(record)
      if (!whole || !(await this.#durable({ log, block }))) return false
    }
    return true
  }

  /** As `open`, with the maps that the record names. */
  async record(info: VersionInfo, reach: Reach): Promise<OpenedVersion> {
    const name = info.version.toString('hex')
    const cached = this.#records.get(name)
    if (cached !== undefined) return cached
    const [block] = await this.#read(info.log, [info.block], reach)
    const key = this.#opts.keysOf(info.log).meta
    const encoded = openBlock(KIND.VERSION, block, info.log, info.block, key, VERSION_BYTES_MAX)
    if (!versionId(encoded).equals(info.version)) {
      throw new HyperparcelError('DATA_CORRUPT', `Version ${info.number} is not what it says`)
    }
    const opened = { record: decodeVersion(encoded), encoded, annex: null }
    remember(this.#records, name, opened, RECORDS_CACHED_MAX)
    return opened
  }

  /** Every block that the version needs. */
  async closure(info: VersionInfo, reach: Reach, opts: ClosureOptions = {}): Promise<Closure> {
    return this.#closure(info, await this.open(info, reach), reach, opts)
  }

  async #closure(
    info: VersionInfo,
    { record, annex }: OpenedVersion,
    reach: Reach,
    opts: ClosureOptions
  ): Promise<Closure> {
    const without = opts.withoutMemory === true ? '-memory' : opts.withoutState === true ? '-' : ''
    const map = annex === null ? '' : nameOf(annex)
    const name = `${info.version.toString('hex')}${without}/${map}`
    const cached = this.#closures.get(name)
    if (cached !== undefined) return cached
    const reader: BlockReader = {
      read: (log, blocks) => this.#read(record.logs[log].key, blocks, reach)
    }
    const metaKey = (log: number) => this.#opts.keysOf(record.logs[log].key).meta
    const closure = await closureOf(new VersionReader(record, reader, metaKey), opts)
    if (without === '') closure.add(logNumber(record, info.log), info.block, 0)
    if (annex !== null) closure.add(logNumber(record, annex.log), annex.block, 0)
    remember(this.#closures, name, closure, CLOSURES_CACHED_MAX)
    return closure
  }

  /** As far as its maps are here: what it needs, by each of them. */
  async closures(info: VersionInfo): Promise<(OpenedVersion & { closure: Closure })[]> {
    const reach = { local: true } as const
    const opened = await this.record(info, reach).catch(unlessAbsent)
    const found: (OpenedVersion & { closure: Closure })[] = []
    for (const by of opened === null ? [] : await this.#maps.stored(info, opened, false)) {
      const closure = await this.#closure(info, by, reach, {}).catch(unlessAbsent)
      if (closure !== null) found.push({ ...by, closure })
    }
    return found
  }

  /** What of the version is stored here. Rejects with `DATA_UNREACHABLE` when not even its maps are in reach. */
  async holdings(info: VersionInfo, reach: Reach, opts: ClosureOptions = {}): Promise<Holdings> {
    const opened = await this.open(info, reach)
    const { record } = opened
    const closure = await this.#closure(info, opened, reach, opts)
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
  async local(infos: VersionInfo[]): Promise<StoredVersion[]> {
    const data = this.#maps.localData()
    const found: StoredVersion[] = []
    for (const info of infos) {
      const opened = await this.record(info, { local: true }).catch(unlessAbsent)
      let best: StoredVersion = { bytes: 0, whole: false, mapped: false, annex: null }
      for (const by of opened === null ? [] : await this.#maps.stored(info, opened, false)) {
        const { bytes, whole, mapped } = await data.version(by.record)
        const isWhole = whole && (await this.#durable(info)) && (await this.#durable(by.annex))
        if (isWhole || bytes > best.bytes || (mapped && !best.mapped)) {
          best = { bytes, whole: isWhole, mapped, annex: by.annex }
        }
        if (isWhole) break
      }
      found.push(best)
    }
    return found
  }

  async #durable(place: BlockPlace | null): Promise<boolean> {
    if (place === null) return true
    const test = await (await this.#opts.store.peek(place.log))?.durableTest()
    return test?.(place.block) === true
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
    } catch (err) {
      this.#maps.forget() // others may have it by another map
      throw err
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

/** Null for a record that is not here, or of a log that is not known yet. */
function unlessAbsent(err: unknown): null {
  const { code } = err as { code?: string }
  if (code === 'DATA_UNREACHABLE' || code === 'KEY_MISSING') return null
  throw err
}
