/**
 * A cache's part in one fleet: a key and a network of its own, so that the fleets of one cache learn nothing of each other;
 * what the fleet's devices want held, what is held, and how it is served.
 *
 * Invariants
 * - No key of the fleet is here: devices are known by public keys, versions by ids, data by logs and block numbers.
 * - A log belongs to the fleet that named it first; no other fleet gets anything of it, whatever its lists say.
 */
import path from 'node:path'
import ReadyResource from 'ready-resource'
import safetyCatch from 'safety-catch'
import { systemClock } from '../../base/clock.ts'
import { readFileIfPresent, writeFileDurable } from '../../base/files.ts'
import type { Logger } from '../../base/logger.ts'
import { HyperparcelError, assert } from '../../base/errors.ts'
import { CardBook } from '../../fleet/card-book.ts'
import type { FleetIdentity } from '../../fleet/index.ts'
import { encodeCard } from '../../format/device-card.ts'
import {
  RANGE_BLOCKS,
  USES_MAX,
  decodeCacheState,
  encodeCacheState,
  type CacheState
} from '../../format/cache-state.ts'
import { PIN_LOGS_MAX } from '../../format/pin-list.ts'
import { Network } from '../../net/network.ts'
import type { LogStore } from '../../store/log-store.ts'
import type { Log } from '../../store/ports.ts'
import { localNetwork, transferLimits, type Settings } from '../config.ts'
import { cacheCalls } from './cache-calls.ts'
import { Filler } from './filler.ts'
import { Held } from './held.ts'
import { PinBook } from './pin-book.ts'

/** Blocks that came are counted after that long. */
const COUNT_MS = 300
const SAVE_MS = 60_000
const COUNTED_AT_ONCE = 1024

export interface CacheFleetOptions {
  identity: FleetIdentity
  /** `<home>/keys/caches/<fleet>`. */
  directory: string
  store: LogStore
  settings: Readonly<Settings>
  logger: Logger
  /** True for the first fleet that names that log. */
  claims(fleet: CacheFleet, log: Buffer): boolean
  compact(): Promise<void>
}

export class CacheFleet extends ReadyResource {
  readonly identity: FleetIdentity
  readonly cards: CardBook
  readonly pins: PinBook
  readonly held = new Held()
  readonly network: Network
  readonly filler: Filler
  readonly #opts: CacheFleetOptions
  #quotaBytes = 0
  /** By key, hex: all that belong to this fleet. */
  readonly #logs = new Map<string, Log>()
  #registryLogs: ReadonlySet<string> = new Set()
  readonly #arrived = new Map<string, number[]>()
  #countTimer: NodeJS.Timeout | null = null
  #saveTimer: NodeJS.Timeout | null = null
  #saving: Promise<void> = Promise.resolve()
  readonly #closing = new AbortController()
  readonly #onserved = (key: Buffer, block: number): void => {
    this.held.use(key, block, Date.now())
  }

  /** Is it a log of this fleet? */
  mayServe(log: Buffer): boolean {
    return this.#logs.has(log.toString('hex'))
  }

  constructor(opts: CacheFleetOptions) {
    super()
    const { identity, directory, store, settings, logger } = opts
    assert(identity.sponsor !== null, 'somebody enrolled this cache')
    this.#opts = opts
    this.identity = identity
    const { fleet, device, sponsor } = identity
    this.cards = new CardBook({ fleet, device, keysDirectory: directory, clock: systemClock })
    this.pins = new PinBook({ fleet, sponsor, directory: path.join(directory, 'pins') })
    this.network = new Network({
      keyPair: device,
      topic: identity.topic,
      bootstrap: settings.bootstrap,
      store,
      isMember: (key) => this.pins.isMember(key),
      members: () => this.pins.members(),
      mayServe: (_peer, log) => this.mayServe(log),
      onserved: this.#onserved,
      lan: localNetwork(settings, {}),
      handlers: cacheCalls(this)
    })
    this.network.limits.set(transferLimits(settings))
    this.filler = new Filler({
      store,
      fetcher: this.network.fetcher,
      pins: this.pins,
      held: this.held,
      logger,
      quotaBytes: () => this.#quotaBytes,
      claims: (log) => this.#logs.has(log.toString('hex')),
      registryLogs: () => this.#registryLogs,
      compact: () => opts.compact(),
      signal: this.#closing.signal
    })
  }

  get store(): LogStore {
    return this.#opts.store
  }

  get quotaBytes(): number {
    return this.#quotaBytes
  }

  protected override async _open(): Promise<void> {
    await this.cards.load()
    await this.pins.load()
    const state = await loadState(this.#opts.directory)
    this.#quotaBytes = state.quotaBytes
    for (const log of state.logs) await this.#own(log)
    for (const { log, range, time } of state.uses) {
      this.held.use(state.logs[log], range * RANGE_BLOCKS, time * 1000)
    }
    await this.#follow()
    this.network.on('peer-add', (key: Buffer) => {
      this.#introduce(key).catch(safetyCatch)
      this.filler.wake()
    })
    await this.network.ready()
    for (const key of this.#registryLogs) {
      this.network.followLog(Buffer.from(key, 'hex')).catch(safetyCatch)
    }
    this.#saveTimer = setInterval(() => void this.#save().catch(safetyCatch), SAVE_MS).unref()
    this.filler.wake()
  }

  protected override async _close(): Promise<void> {
    this.#closing.abort(new HyperparcelError('INTERRUPTED', 'The daemon ends'))
    if (this.#countTimer !== null) clearTimeout(this.#countTimer)
    if (this.#saveTimer !== null) clearInterval(this.#saveTimer)
    await this.network.close()
    await this.filler.close()
    if (this.opened) await this.#save()
  }

  /** A card that a device of the fleet sent. */
  async addCard(bytes: Buffer): Promise<void> {
    if (!(await this.cards.add(bytes))) return
    await this.#follow()
    const cards = { cards: [bytes.toString('base64')] }
    for (const { publicKey } of this.network.peers()) {
      this.network.call(publicKey, 'cards', cards).catch(safetyCatch)
    }
  }

  /** A pin list that a device of the fleet sent. Resolves with the newest counter known of its author. */
  async addPins(bytes: Buffer): Promise<number> {
    const { counter, isNew } = await this.pins.add(bytes)
    if (!isNew) return counter
    await this.#follow()
    const { topic } = this.pins
    if (topic !== null) await this.network.joinTopic(topic)
    return counter
  }

  /** Takes over which logs there are now, and lets the network act on it. */
  async #follow(): Promise<void> {
    const members = this.cards.list().filter(({ publicKey }) => this.pins.isMember(publicKey))
    const registry = [...members.map(({ log }) => log), ...this.cards.formerLogs]
    const listed = [...registry, ...this.pins.logs().values()]
    const fresh = listed.filter((log) => !this.#logs.has(log.toString('hex')))
    for (const log of fresh) await this.#own(log)
    this.#registryLogs = new Set(
      registry.map((log) => log.toString('hex')).filter((name) => this.#logs.has(name))
    )
    if (fresh.length > 0) await this.#save()
    if (!this.network.opened) return
    this.network.membersChanged()
    for (const log of registry) {
      if (this.#logs.has(log.toString('hex'))) this.network.followLog(log).catch(safetyCatch)
    }
    this.filler.wake()
  }

  /** From now on that log is this fleet's, unless it is another one's. */
  async #own(key: Buffer): Promise<void> {
    const name = key.toString('hex')
    if (this.#logs.has(name) || this.#logs.size >= PIN_LOGS_MAX) return
    if (!this.#opts.claims(this, key)) return
    const log = await this.store.open(key)
    this.#logs.set(name, log)
    log.on('stored', (block: number) => this.#onstored(key, block))
    for (const { start, count } of await log.durableRuns(0, log.length, Number.MAX_SAFE_INTEGER)) {
      for (let at = start; at < start + count; at += COUNTED_AT_ONCE) {
        const length = Math.min(COUNTED_AT_ONCE, start + count - at)
        await this.filler.count(
          key,
          Array.from({ length }, (_, i) => at + i)
        )
      }
    }
  }

  #onstored(key: Buffer, block: number): void {
    const name = key.toString('hex')
    const blocks = this.#arrived.get(name)
    if (blocks === undefined) this.#arrived.set(name, [block])
    else blocks.push(block)
    this.#countTimer ??= setTimeout(() => {
      this.#countTimer = null
      this.#count().catch(safetyCatch)
    }, COUNT_MS).unref()
  }

  async #count(): Promise<void> {
    const arrived = [...this.#arrived]
    this.#arrived.clear()
    for (const [name, blocks] of arrived) await this.filler.count(Buffer.from(name, 'hex'), blocks)
  }

  /** Where the registry logs are: a device may have been away for long. */
  async #introduce(publicKey: Buffer): Promise<void> {
    const cards = this.cards.list().map((card) => encodeCard(card).toString('base64'))
    await this.network.call(publicKey, 'cards', { cards })
  }

  #save(): Promise<void> {
    const logs = [...this.#logs.keys()].map((name) => Buffer.from(name, 'hex'))
    const numbers = new Map([...this.#logs.keys()].map((name, i) => [name, i]))
    const used = this.held.ranges().filter(({ usedMs }) => usedMs > 0)
    const newest = used.toSorted((a, b) => b.usedMs - a.usedMs).slice(0, USES_MAX)
    const uses = newest.flatMap(({ log, range, usedMs }) => {
      const number = numbers.get(log.toString('hex'))
      return number === undefined ? [] : [{ log: number, range, time: Math.floor(usedMs / 1000) }]
    })
    const state = { quotaBytes: this.#quotaBytes, logs, uses }
    this.#saving = this.#saving.then(() => storeState(this.#opts.directory, state))
    return this.#saving
  }
}

/** Durable on return. */
export function storeState(directory: string, state: CacheState): Promise<void> {
  return writeFileDurable(path.join(directory, 'state'), encodeCacheState(state))
}

/** Rejects with `CACHE_DAMAGED`, `FORMAT_INVALID`, `FORMAT_TOO_NEW`. */
export async function loadState(directory: string): Promise<CacheState> {
  const data = await readFileIfPresent(path.join(directory, 'state'))
  if (data !== null) return decodeCacheState(data)
  throw new HyperparcelError('CACHE_DAMAGED', `${directory} lacks the file state`, {
    hint: 'Enrol the cache anew: remove that directory, then `hyperparcel join` with a new invite.'
  })
}
