/**
 * Tells the fleet's caches what this device has and wants them to hold: a signed pin list to each cache that connects,
 * and a new one after each change.
 *
 * Invariants
 * - Listed is only what is wholly stored here: a cache could get the rest nowhere.
 * - A cache gets no block of a log that this device did not list, but for the fleet's registry.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import safetyCatch from 'safety-catch'
import * as v from 'valibot'
import { signPinList } from '../../fleet/pin-list.ts'
import { PIN_LIST_BYTES_MAX } from '../../format/pin-list.ts'
import { composePins, encodePins, type Pins } from '../versions/pins.ts'
import type { FleetNode } from '../node.ts'

/** Changes come in groups. */
const SETTLE_MS = 500
const PUSH_TIMEOUT_MS = 60_000
/** Between attempts, while the cache is connected. */
const RETRY_MS = 5000
const Answer = v.object({ counter: v.pipe(v.number(), v.safeInteger(), v.minValue(0)) })

export class PinPublisher {
  readonly #node: FleetNode
  #pins: Pins = { name: '', logs: [], entries: [] }
  #logs = new Set<string>()
  #counter = 0
  #list: Buffer | null = null
  /** Caches (hex) that have the list as it is. */
  readonly #told = new Set<string>()
  #running: Promise<void> | null = null
  #again = false

  constructor(node: FleetNode) {
    this.#node = node
  }

  start(): void {
    const { network, registry } = this.#node
    registry.on('update', () => this.wake())
    network.on('peer-add', (key: Buffer) => {
      this.#told.delete(key.toString('hex'))
      if (this.#node.isCache(key)) this.wake()
    })
    this.wake()
  }

  async close(): Promise<void> {
    await this.#running
  }

  /** May caches have it? */
  lists(log: Buffer): boolean {
    return this.#logs.has(log.toString('hex'))
  }

  /** What is stored here, or who the members are, may have changed. */
  wake(): void {
    this.#again = true
    this.#running ??= this.#run()
      .catch(safetyCatch)
      .finally(() => (this.#running = null))
  }

  async #run(): Promise<void> {
    const { closingSignal: signal } = this.#node
    while (this.#again && !signal.aborted) {
      this.#again = false
      await sleep(SETTLE_MS, undefined, { signal }).catch(safetyCatch)
      // While blocks are dropped nothing is promised; whoever drops them wakes us at the end.
      if (signal.aborted || this.#node.evicting || this.#connected().length === 0) return
      await this.#renew()
      const told = await Promise.all(this.#connected().map((key) => this.#tell(key)))
      if (told.every(Boolean) || signal.aborted) continue
      await sleep(RETRY_MS, undefined, { signal }).catch(safetyCatch)
      this.#again = true
    }
  }

  #connected(): Buffer[] {
    const { network } = this.#node
    return network
      .peers()
      .map(({ publicKey }) => publicKey)
      .filter((key) => this.#node.isCache(key) && network.isConnected(key))
  }

  /** A new list, where it says something else than the last one. */
  async #renew(): Promise<void> {
    const { registry, identity } = this.#node
    const members = registry
      .devices()
      .filter(({ role }) => role === 'device')
      .map(({ publicKey, removed }) => ({ publicKey, removed }))
    const pins = await composePins(this.#node)
    const names = members.map((one) => `${one.publicKey.toString('hex')}${one.removed}`)
    const name = [registry.topic.toString('hex'), ...names, pins.name].join()
    if (this.#list !== null && this.#pins.name === name) return
    this.#pins = { ...pins, name }
    this.#logs = new Set(pins.logs.map((log) => log.toString('hex')))
    this.#node.network.membersChanged()
    this.#counter = Math.max(this.#counter + 1, Date.now())
    this.#told.clear()
    const { fleet, device } = identity
    const draft = { fleet, counter: this.#counter, topic: registry.topic, members }
    this.#list = encodePins(this.#pins, PIN_LIST_BYTES_MAX, (fitting) =>
      signPinList(device, { ...draft, ...fitting })
    )
  }

  /** False where it should be tried again. */
  async #tell(cache: Buffer): Promise<boolean> {
    const name = cache.toString('hex')
    const list = this.#list
    if (list === null || this.#told.has(name)) return true
    try {
      const opts = {
        attachment: list,
        timeoutMs: PUSH_TIMEOUT_MS,
        signal: this.#node.closingSignal
      }
      const { counter } = v.parse(Answer, await this.#node.network.call(cache, 'pins', null, opts))
      if (counter > this.#counter) {
        // This clock was set back, or an old copy of this home came back.
        this.#counter = counter
        this.#list = null
        return false
      }
      if (list === this.#list) this.#told.add(name)
      return true
    } catch (err) {
      if (!this.#node.closingSignal.aborted) {
        this.#node.logger.warn({ err }, 'A cache did not take the list of what it should hold')
      }
      return !this.#node.network.isConnected(cache)
    }
  }
}
