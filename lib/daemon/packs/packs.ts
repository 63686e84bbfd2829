/**
 * Resume packs of versions as the daemon sees them: found, their heads opened, their blocks named for whoever fetches or
 * keeps them. Segments of a pack are opened by runners only.
 *
 * A pack is a hint: nothing waits for one that is not to be had, and one that a runner found wrong is not used again.
 */
import path from 'node:path'
import { readFile } from 'node:fs/promises'
import safetyCatch from 'safety-catch'
import { withDeadline } from '../../base/deadline.ts'
import { HyperparcelError, type ErrorShape } from '../../base/errors.ts'
import { writeFileDurable } from '../../base/files.ts'
import type { AnnexInfo, VersionInfo } from '../../fleet/index.ts'
import { openPackHead, packBlocks, readPack, type PackIndex } from '../../parcel/pack-index.ts'
import type { FetchPriority } from '../../store/ports.ts'
import type { FleetNode } from '../node.ts'
import type { CommitNeeds } from '../runners/commit-host.ts'
import type { OpenedVersion, Reach } from '../versions/versions.ts'

/** Names of bad packs that are remembered. */
const BAD_MAX = 1024
/** A head that does not come in that time is not waited for. */
const HEAD_MS = 2000
const UNUSABLE = new Set(['DATA_CORRUPT', 'FORMAT_INVALID', 'FORMAT_TOO_NEW', 'KEY_MISSING'])

export interface OpenedPack {
  annex: AnnexInfo
  index: PackIndex
  /** Payload of its head. */
  head: Buffer
  /** Its head and its segments. */
  blocks: number[]
  /** All of it is stored here. */
  isLocal: boolean
}

export class Packs {
  readonly #node: FleetNode
  readonly #bad = new Set<string>()
  /** Of the pack that is being written here. */
  writing: (() => CommitNeeds | null) | null = null
  /** Packs that turned out to be wrong since the daemon started. */
  badSeen = 0

  constructor(node: FleetNode) {
    this.#node = node
  }

  async load(): Promise<void> {
    const text = await readFile(this.#file, 'utf8').catch(() => '[]')
    try {
      for (const name of JSON.parse(text) as unknown[]) this.#bad.add(String(name))
    } catch (err) {
      safetyCatch(err) // then they are found out again
    }
  }

  /** The best pack of a version that is to be had; null where there is none. */
  async open(
    info: VersionInfo,
    { record }: OpenedVersion,
    signal: AbortSignal
  ): Promise<OpenedPack | null> {
    for (const annex of this.#node.registry.packs(info.version)) {
      if (this.#bad.has(nameOf(annex))) continue
      try {
        const head = await withDeadline(HEAD_MS, signal, (limit) =>
          this.#head(annex, { priority: 'demand', signal: limit })
        )
        const index = readPack(head, record)
        const blocks = packBlocks(index.head, annex)
        const log = await this.#node.store.open(annex.log)
        const isLocal = (await log.hasEach(blocks)).every(Boolean)
        if (!isLocal && !this.#isOffered(annex, blocks.length)) continue
        return { annex, index, head, blocks, isLocal }
      } catch (err) {
        signal.throwIfAborted()
        if (UNUSABLE.has((err as { code?: string }).code ?? '')) {
          await this.foundBad(annex, HyperparcelError.from(err).toJSON())
        }
      }
    }
    return null
  }

  /** Blocks of all packs of a version, as far as their heads are stored here. */
  async stored(info: VersionInfo): Promise<{ log: Buffer; blocks: number[] }[]> {
    const found: { log: Buffer; blocks: number[] }[] = []
    for (const annex of this.#node.registry.packs(info.version)) {
      const opened = await this.#node.versions.record(info, { local: true }).catch(() => null)
      const head = await this.#head(annex, { local: true }).catch(() => null)
      if (opened === null || head === null) continue
      try {
        const { head: decoded } = readPack(head, opened.record)
        found.push({ log: annex.log, blocks: packBlocks(decoded, annex) })
      } catch (err) {
        safetyCatch(err) // it is nothing worth keeping
      }
    }
    return found
  }

  /** Blocks of those packs of a version that are whole here, by their heads. */
  async whole(info: VersionInfo): Promise<{ log: Buffer; blocks: number[] }[]> {
    const whole: { log: Buffer; blocks: number[] }[] = []
    for (const pack of await this.stored(info)) {
      const log = await this.#node.store.open(pack.log)
      if ((await log.hasEach(pack.blocks)).every(Boolean)) whole.push(pack)
    }
    return whole
  }

  /** Fetches blocks of a pack: its head, then its segments in order. */
  fetch(
    { annex }: OpenedPack,
    blocks: number[],
    opts: { priority: FetchPriority; signal: AbortSignal }
  ): Promise<void> {
    return this.#node.network.fetcher.fetch(annex.log, blocks, opts)
  }

  /** Somebody opened it, and it is not what it says. */
  async foundBad(place: { log: Buffer; block: number }, error: ErrorShape): Promise<void> {
    this.badSeen++
    this.#node.logger.error(
      { log: place.log.toString('hex'), block: place.block, err: error },
      'A resume pack is not what it says: it is not used again'
    )
    if (this.#bad.size >= BAD_MAX) this.#bad.delete(this.#bad.values().next().value!)
    this.#bad.add(nameOf(place))
    await writeFileDurable(this.#file, `${JSON.stringify([...this.#bad])}\n`).catch(safetyCatch)
  }

  get #file(): string {
    return path.join(this.#node.paths.home, 'bad-packs.json')
  }

  async #head(annex: AnnexInfo, reach: Reach): Promise<Buffer> {
    const { log: key, block } = annex
    const log = await this.#node.store.open(key)
    let sealed = await log.read(block)
    if (sealed === null && !('local' in reach)) {
      await this.#node.network.fetcher.fetch(key, [block], reach)
      sealed = await log.read(block)
    }
    if (sealed !== null) return openPackHead(sealed, annex, this.#node.keysOf(key).meta)
    throw new HyperparcelError('DATA_UNREACHABLE', 'The head of a resume pack is not stored here')
  }

  /** Does a connected device have all of it? */
  #isOffered({ log, block }: AnnexInfo, blocks: number): boolean {
    return this.#node.network.holders(log, block, block + blocks).length > 0
  }
}

function nameOf({ log, block }: { log: Buffer; block: number }): string {
  return `${log.toString('hex')}/${block}`
}
