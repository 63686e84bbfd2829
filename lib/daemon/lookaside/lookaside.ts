/**
 * What lies nearby and may have data of ours: paths that the user named, and media that were plugged in. Looked at every
 * few seconds; what is gone comes back by itself.
 *
 * Invariants
 * - Nothing here is needed: whatever happens to a path, data come from elsewhere.
 * - The daemon touches no such path itself (`process.ts`).
 */
import { EventEmitter } from 'node:events'
import path from 'node:path'
import safetyCatch from 'safety-catch'
import * as v from 'valibot'
import { withDeadline } from '../../base/deadline.ts'
import { HyperparcelError } from '../../base/errors.ts'
import { readFileIfPresent, writeFileDurable } from '../../base/files.ts'
import type { VersionInfo } from '../../fleet/index.ts'
import type { Looked, StickInfo } from '../../lookaside/protocol.ts'
import type { FleetNode } from '../node.ts'
import type { PeerMap } from '../versions/map-choice.ts'
import { pluggedIn } from './media.ts'
import { LookasideProcess } from './process.ts'
import type { SeedJson } from '../../runner/protocol.ts'
import type { UseCaseContext } from '../use-cases/context.ts'
import { SeedBook } from './seed-book.ts'
import { StickSource } from './stick-source.ts'

const POLL_MS = 2000
/** A look that takes longer hangs on a medium that is going away. */
const LOOK_MS = 20_000
const PATHS_MAX = 64
const State = v.object({ format: v.literal(1), paths: v.array(v.string()) })

/** As it was found last. */
export interface Entry {
  path: string
  /** Found by itself, not named by the user. */
  auto: boolean
  found: Looked | null
}

interface Used {
  source: StickSource
  path: string
}

export interface LookasideOptions {
  /** Media that are there now. */
  media?: () => Promise<string[]>
  pollMs?: number
}

/** Event `look` after each look. */
export class Lookaside extends EventEmitter {
  readonly process: LookasideProcess
  readonly seeds: SeedBook
  /** Named images and directories that are indexed. */
  usableSeeds: SeedJson[] = []
  readonly #node: FleetNode
  readonly #opts: LookasideOptions
  readonly #file: string
  #paths: string[] = []
  #entries: Entry[] = []
  /** By folder. */
  readonly #sticks = new Map<string, Used>()
  /** Of sticks that are gone, by path. */
  readonly #past = new Map<string, { blocks: number; bytes: number }>()
  /** Folders of sticks that sent what did not verify, as they were then. */
  readonly #bad = new Map<string, string>()
  #looking: Promise<void> | null = null
  #timer: NodeJS.Timeout | null = null
  #closed = false

  constructor(node: FleetNode, opts: LookasideOptions = {}) {
    super()
    this.#node = node
    this.#opts = opts
    this.#file = path.join(node.paths.home, 'lookaside.json')
    this.seeds = new SeedBook({
      directory: path.join(node.paths.home, 'seeds'),
      dedupKey: () => node.registry.keyring.dedupKey
    })
    this.process = new LookasideProcess({
      stickKey: node.registry.keyring.stickKey,
      logFile: path.join(node.paths.home, 'lookaside.log'),
      onend: () => this.#forget()
    })
  }

  async start(): Promise<void> {
    this.#paths = await this.#load()
    this.usableSeeds = await this.seeds.usable(this.#paths)
    this.#schedule(0)
  }

  async close(): Promise<void> {
    this.#closed = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    for (const { source } of this.#sticks.values()) source.close()
    await this.process.close()
  }

  /**
   * Durable on return; an image or a directory is indexed then. Rejects with `PATH_UNUSABLE` for what can never be used,
   * or with the signal's reason.
   */
  async add(
    named: string,
    { progress, signal }: Pick<UseCaseContext, 'progress' | 'signal'>
  ): Promise<Entry> {
    if (this.#paths.length >= PATHS_MAX && !this.#paths.includes(named)) {
      throw new HyperparcelError('PATH_UNUSABLE', `There are ${PATHS_MAX} paths already`, {
        hint: 'Take one away with `hyperparcel lookaside remove`.'
      })
    }
    const { found } = await this.process.call('look', { paths: [named] })
    const [{ kind, note }] = found
    if (kind === null) {
      throw new HyperparcelError('PATH_UNUSABLE', note ?? `There is no ${named}`, {
        hint: 'Name a stick, an image file, or a directory of files.'
      })
    }
    if (kind === 'stick') await this.seeds.forget(named)
    else await this.seeds.build(named, progress, signal)
    if (!this.#paths.includes(named)) await this.#save([...this.#paths, named])
    await this.#seedsChanged()
    await this.look()
    return this.list().find((entry) => entry.path === named)!
  }

  /** Durable on return. Rejects with `PATH_UNUSABLE` for one that is not in the list. */
  async remove(named: string): Promise<Entry> {
    const entry = this.list().find((known) => known.path === named && !known.auto)
    if (entry === undefined) {
      throw new HyperparcelError('PATH_UNUSABLE', `${named} is not in the list`, {
        hint: 'See `hyperparcel lookaside ls`. Plugged-in sticks are used by themselves: `hyperparcel config lookaside-auto false` ends that.'
      })
    }
    await this.#save(this.#paths.filter((known) => known !== named))
    await this.seeds.forget(named)
    await this.#seedsChanged()
    await this.look()
    return entry
  }

  list(): Entry[] {
    const named = this.#paths.map((each) => {
      const found = this.#entries.find((entry) => entry.path === each)?.found ?? null
      return { path: each, auto: false, found }
    })
    const others = this.#entries.filter(({ path: each }) => !this.#paths.includes(each))
    return [...named, ...others]
  }

  /** Blocks that came from a path since the daemon started, and their bytes. */
  hits(at: string): { blocks: number; bytes: number } {
    const sum = { ...(this.#past.get(at) ?? { blocks: 0, bytes: 0 }) }
    addTo(sum, this.seeds.hits(at))
    for (const used of this.#sticks.values()) if (used.path === at) addTo(sum, used.source.hits)
    return sum
  }

  /** Did it send what did not verify? */
  isBad({ folder, stamp, damaged }: StickInfo): boolean {
    return damaged || this.#bad.get(folder) === stamp
  }

  /** How sticks that are here hold a version. */
  maps(info: VersionInfo): PeerMap[] {
    const id = info.version.toString('hex')
    return [...this.#sticks.values()].flatMap(({ source: { info: stick } }) => {
      if (stick.version?.id !== id) return []
      const { annex } = stick.version
      const place = annex && { log: Buffer.from(annex.log, 'hex'), block: annex.block }
      return [{ holds: true, annex: place }]
    })
  }

  /** Looks now. Calls meanwhile share one more look. */
  async look(): Promise<void> {
    await this.#looking
    this.#looking ??= this.#look().finally(() => (this.#looking = null))
    await this.#looking
  }

  async #seedsChanged(): Promise<void> {
    this.usableSeeds = await this.seeds.usable(this.#paths)
    await this.#node.runners.tellSeeds(this.usableSeeds)
  }

  #schedule(ms: number): void {
    if (this.#closed) return
    this.#timer = setTimeout(() => {
      this.look()
        .catch(safetyCatch)
        .finally(() => this.#schedule(this.#opts.pollMs ?? POLL_MS))
    }, ms).unref()
  }

  async #look(): Promise<void> {
    const media = this.#node.settings['lookaside-auto'] === false ? [] : await this.#media()
    const auto = media.filter((each) => !this.#paths.includes(each))
    const paths = [...this.#paths, ...auto]
    if (this.#closed || (paths.length === 0 && this.#entries.length === 0)) return
    const found = await this.#ask(paths)
    if (this.#closed) return
    const entries = paths.map((each, i) => ({
      path: each,
      auto: i >= this.#paths.length,
      found: found[i]
    }))
    // Of what was plugged in, only sticks are ours to use.
    this.#entries = entries.filter((entry) => !entry.auto || entry.found?.kind === 'stick')
    await this.#use(this.#entries)
    this.emit('look')
  }

  async #ask(paths: string[]): Promise<Looked[]> {
    try {
      const ask = (signal: AbortSignal) => this.process.call('look', { paths }, { signal })
      return (await withDeadline(LOOK_MS, undefined, ask, hangs)).found
    } catch (err) {
      this.#node.logger.warn({ err: HyperparcelError.from(err).toJSON() }, 'A look failed')
      this.process.kill()
      return paths.map((each) => ({
        path: each,
        kind: null,
        sticks: [],
        bytes: 0,
        foreign: 0,
        note: null
      }))
    }
  }

  async #use(entries: Entry[]): Promise<void> {
    const here = new Map<string, { info: StickInfo; path: string }>()
    for (const { path: at, found } of entries) {
      for (const info of found?.sticks ?? []) here.set(info.folder, { info, path: at })
    }
    for (const [folder, used] of this.#sticks) {
      const now = here.get(folder)
      if (now?.info.stamp === used.source.info.stamp && !used.source.closed)
        used.source.info = now.info
      else this.#drop(folder, used)
    }
    for (const { info, path: at } of here.values()) {
      if (this.#sticks.has(info.folder) || this.#bad.get(info.folder) === info.stamp) continue
      await this.#take(info, at)
    }
  }

  async #take(info: StickInfo, at: string): Promise<void> {
    const { network, store, registry, logger } = this.#node
    const { cards } = await this.process.call('stick.cards', { folder: info.folder })
    for (const card of cards) {
      await registry.addCard(Buffer.from(card, 'hex')).catch((err: unknown) => {
        logger.warn({ err: HyperparcelError.from(err).toJSON() }, 'A card on a stick was ignored')
      })
    }
    const onbad = () => {
      logger.warn({ folder: info.folder }, 'A stick sent what does not verify')
      this.#bad.set(info.folder, info.stamp)
    }
    const source = new StickSource({ info, network, store, process: this.process, onbad })
    this.#sticks.set(info.folder, { source, path: at })
  }

  /** The next look finds them anew. */
  #forget(): void {
    for (const [folder, used] of this.#sticks) this.#drop(folder, used)
  }

  #drop(folder: string, { source, path: at }: Used): void {
    source.close()
    this.#sticks.delete(folder)
    const past = this.#past.get(at) ?? { blocks: 0, bytes: 0 }
    addTo(past, source.hits)
    this.#past.set(at, past)
  }

  #media(): Promise<string[]> {
    return (this.#opts.media ?? pluggedIn)()
  }

  /** A damaged file counts as none: nothing is lost that the user cannot name again. */
  async #load(): Promise<string[]> {
    const raw = await readFileIfPresent(this.#file)
    if (raw === null) return []
    try {
      return v.parse(State, JSON.parse(raw.toString('utf8'))).paths.slice(0, PATHS_MAX)
    } catch (err) {
      this.#node.logger.warn(
        { err: HyperparcelError.from(err).toJSON() },
        'lookaside.json is damaged'
      )
      return []
    }
  }

  async #save(paths: string[]): Promise<void> {
    await writeFileDurable(this.#file, `${JSON.stringify({ format: 1, paths }, null, 1)}\n`)
    this.#paths = paths
  }
}

function addTo(
  sum: { blocks: number; bytes: number },
  more: { blocks: number; bytes: number }
): void {
  sum.blocks += more.blocks
  sum.bytes += more.bytes
}

function hangs(): HyperparcelError {
  return new HyperparcelError('PATH_UNUSABLE', 'Something nearby does not answer')
}
