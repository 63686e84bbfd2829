/**
 * Through which map a version is read: that of its record, or one that a device issued anew when it rewrote segments.
 * All of them name the same content; which one is of use depends on who has what.
 *
 * - A reissued map counts only where it fits the record (`parcel/reissued-version.ts`). One of another device that does
 *   not is passed over, and so is an own one that is damaged, by whoever reads; whoever deletes stops at it (`stored`).
 * - The own one is taken whenever its block is here: it was announced when all of it was here, and who drops data of
 *   the version drops that block first.
 * - Else the record's, when all of that is here; else that of another device, when all of that is here; else the one
 *   that a connected device has all of, the record's first; else the one of which most is here.
 * - A choice made by what others say holds for a minute, so that all parts of one command agree.
 */
import { HyperparcelError } from '../../base/errors.ts'
import type { LogKeys } from '../../chunk/segment.ts'
import type { AnnexInfo, VersionInfo } from '../../fleet/index.ts'
import { LocalData } from '../../parcel/local-data.ts'
import { openReissuedMap, withReissuedMap, type BlockPlace } from '../../parcel/reissued-version.ts'
import type { LogStorePort } from '../../store/ports.ts'
import type { OpenedVersion, Reach } from './versions.ts'

const CHOICES_MAX = 1024
const CHOICE_MS = 60_000
/** What is wrong with a map that is passed over. */
const UNUSABLE = new Set(['DATA_CORRUPT', 'FORMAT_INVALID', 'FORMAT_TOO_NEW', 'KEY_MISSING'])

/** How a connected device reads a version. */
export interface PeerMap {
  /** It has all of it. */
  holds: boolean
  annex: BlockPlace | null
}

export interface MapChoiceOptions {
  store: LogStorePort
  keysOf(log: Buffer): LogKeys
  /** Reissued maps of a version. */
  annexes(version: Buffer): AnnexInfo[]
  /** Public key of this device. */
  self: Buffer
  /** A block, stored here or fetched. Rejects with `DATA_UNREACHABLE`. */
  read(log: Buffer, block: number, reach: Reach): Promise<Buffer>
  /** What connected devices say of a version. */
  ask(info: VersionInfo): Promise<PeerMap[]>
}

interface Choice {
  /** Maps that there were to choose from. */
  of: string
  opened: OpenedVersion
  /** Monotonic; Infinity where it stays as long as nobody deletes anything. */
  until: number
}

export class MapChoice {
  readonly #opts: MapChoiceOptions
  readonly #choices = new Map<string, Choice>()

  constructor(opts: MapChoiceOptions) {
    this.#opts = opts
  }

  /** Blocks were deleted, or could not be had: choose again. */
  forget(): void {
    this.#choices.clear()
  }

  /** @param opened by its record */
  async choose(info: VersionInfo, opened: OpenedVersion, reach: Reach): Promise<OpenedVersion> {
    const annexes = this.#opts.annexes(info.version)
    if (annexes.length === 0) return opened
    const name = info.version.toString('hex')
    const of = annexes.map(nameOf).join()
    const known = this.#choices.get(name)
    if (known?.of === of && known.until > performance.now()) return known.opened
    const { chosen, stays } = await this.#choose(info, opened, annexes, reach)
    if (stays || !('local' in reach)) {
      if (this.#choices.size >= CHOICES_MAX) {
        this.#choices.delete(this.#choices.keys().next().value!)
      }
      const until = stays ? Infinity : performance.now() + CHOICE_MS
      this.#choices.set(name, { of, opened: chosen, until })
    }
    return chosen
  }

  /**
   * All ways to read it with what is stored here, the preferred first. With `strict` this rejects where the own map is
   * damaged; else it is passed over.
   */
  async stored(
    info: VersionInfo,
    opened: OpenedVersion,
    strict: boolean
  ): Promise<OpenedVersion[]> {
    const own: OpenedVersion[] = []
    const others: OpenedVersion[] = []
    for (const annex of this.#opts.annexes(info.version)) {
      const isOwn = annex.device.equals(this.#opts.self)
      const log = await this.#opts.store.peek(annex.log)
      if (log === null || !(await log.has(annex.block))) continue
      const under = await this.under(info, opened, annex, { local: true }).catch((err: unknown) => {
        if (strict && isOwn) throw err
        return unlessUnusable(err)
      })
      if (under !== null) (isOwn ? own : others).push(under)
    }
    return [...own, opened, ...others]
  }

  async #choose(
    info: VersionInfo,
    opened: OpenedVersion,
    annexes: AnnexInfo[],
    reach: Reach
  ): Promise<{ chosen: OpenedVersion; stays: boolean }> {
    const stored = await this.stored(info, opened, false)
    if (stored[0] !== opened) return { chosen: stored[0], stays: true }
    const data = this.localData()
    let most = { chosen: opened, bytes: 0 }
    for (const chosen of stored) {
      const { bytes, whole } = await data.version(chosen.record)
      if (whole) return { chosen, stays: true }
      if (bytes > most.bytes) most = { chosen, bytes }
    }
    if ('local' in reach) return { chosen: most.chosen, stays: false }
    const peers = await this.#opts.ask(info)
    const held = peers.filter(({ holds }) => holds)
    if (held.some(({ annex }) => annex === null)) return { chosen: opened, stays: false }
    // Nobody has all of it: who reads it through another map has at least looked at it.
    const hints = held.length > 0 ? held : most.bytes === 0 ? peers : []
    const named = new Set(hints.flatMap(({ annex }) => (annex === null ? [] : [nameOf(annex)])))
    for (const annex of annexes) {
      if (!named.has(nameOf(annex))) continue
      const under = await this.under(info, opened, annex, reach).catch(unlessUnusable)
      if (under !== null) return { chosen: under, stays: false }
    }
    return { chosen: most.chosen, stays: false }
  }

  /** For one look at what is stored here, durably. */
  localData(): LocalData {
    const { store, keysOf } = this.#opts
    return new LocalData({
      read: async (key, block) => (await store.peek(key))?.read(block) ?? null,
      metaKey: (key) => keysOf(key).meta,
      stored: async (key) => (await store.peek(key))?.durableTest() ?? (() => false)
    })
  }

  /** The version read through that map. Rejects where it does not fit. */
  async under(
    info: VersionInfo,
    opened: OpenedVersion,
    { log, block }: BlockPlace,
    reach: Reach
  ): Promise<OpenedVersion> {
    const sealed = await this.#opts.read(log, block, reach)
    const place = { log, block }
    const reissued = openReissuedMap(sealed, place, this.#opts.keysOf(log).meta)
    const record = withReissuedMap(opened.record, info.version, reissued)
    return { record, encoded: opened.encoded, annex: { ...place, encoded: reissued } }
  }
}

export function nameOf({ log, block }: BlockPlace): string {
  return `${log.toString('hex')}/${block}`
}

function unlessUnusable(err: unknown): null {
  if (err instanceof HyperparcelError && UNUSABLE.has(err.code)) return null
  throw err
}
