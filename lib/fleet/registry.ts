/**
 * The registry: what all devices of the fleet signed, merged (`view.ts`), and this device's pen in it.
 *
 * Each device writes one registry log, which its card names. The net layer keeps the logs of `registryLogs()`
 * fetched and gossips `cards()`; what can be asked is in `registry-view.ts`.
 *
 * Invariants
 * - A record that `append` resolved with is durable, and in the log that the own card names.
 * - A new own log (the store gives one where the last may not go on) gets all own records before the card names
 *   it. An own record that turns up later, from a former log that a peer still had, is appended likewise.
 *
 * Events: `update` when the view changed (at most once a tick); `card` (bytes) for each new card, own ones
 * included, to be passed on; `problem` (HyperparcelError) for a block that does not verify.
 */
import safetyCatch from 'safety-catch'
import { HyperparcelError, assert } from '../base/errors.ts'
import { systemClock } from '../base/clock.ts'
import type { Clock } from '../base/clock.ts'
import { encodeCard } from '../format/device-card.ts'
import { encodeLeaseEntry } from '../format/lease.ts'
import type { LeaseEntry } from '../format/lease.ts'
import { decodeRecord } from '../format/registry.ts'
import type { RecordDraft, Role } from '../format/registry.ts'
import type { Log, LogStorePort } from '../store/ports.ts'
import { CardBook } from './card-book.ts'
import { KEY_BYTES, randomBytes } from './derive.ts'
import type { FleetIdentity } from './identity.ts'
import { storeIdentity } from './identity.ts'
import type { Keyring } from './keyring.ts'
import { LogReader } from './log-reader.ts'
import { checkName, freeName } from './names.ts'
import { OwnLog } from './own-log.ts'
import { RegistryView } from './registry-view.ts'
import type { StoredRecord } from './records.ts'
import { signRecord, stored } from './records.ts'
import { FleetView } from './view.ts'

export interface RegistryOptions {
  identity: FleetIdentity
  store: LogStorePort
  /** `<home>/keys`. */
  keysDirectory: string
  clock?: Clock
}

export class Registry extends RegistryView {
  readonly identity: FleetIdentity
  readonly keyring: Keyring
  readonly #store: LogStorePort
  readonly #keysDirectory: string
  readonly #clock: Clock
  protected readonly view: FleetView
  readonly #book: CardBook
  readonly #own: OwnLog
  /** By log key, hex. */
  readonly #readers = new Map<string, LogReader>()
  #updating = false
  #storing: Promise<void> = Promise.resolve()

  constructor(opts: RegistryOptions) {
    super()
    this.setMaxListeners(0)
    const { identity, store, keysDirectory, clock = systemClock } = opts
    assert(identity.keyring !== null, 'a cache has no registry')
    this.identity = identity
    this.keyring = identity.keyring
    this.#store = store
    this.#keysDirectory = keysDirectory
    this.#clock = clock
    const { fleet, device, sponsor } = identity
    const trusted = sponsor === null ? [device.publicKey] : [device.publicKey, sponsor]
    this.view = new FleetView(fleet, trusted, (body) => {
      if (this.keyring.learn(body, device)) this.#learned()
    })
    this.#book = new CardBook({ fleet, device, keysDirectory, clock })
    this.#own = new OwnLog({
      author: device.publicKey,
      store,
      keyring: this.keyring,
      book: this.#book,
      name: () => this.name,
      readLog: (log) => this.#read(log),
      oncard: (card) => this.emit('card', encodeCard(card)),
      onproblem: (err) => this.#problem(err)
    })
  }

  protected override async _open(): Promise<void> {
    await this.#book.load()
    this.#take(this.#first())
    await this.#follow()
    await this.#own.open(this.#first())
  }

  protected override async _close(): Promise<void> {
    await this.#own.close()
    await Promise.all([...this.#readers.values()].map((reader) => reader.close()))
    await this.#storing
  }

  // Writing

  /** Signs and appends records of this device; durable when it resolves. */
  async append(...drafts: RecordDraft[]): Promise<StoredRecord[]> {
    const { fleet, device } = this.identity
    const time = this.#clock.now()
    const records = drafts.map((draft) => signRecord(fleet, device, time, draft))
    await this.#own.append(records)
    this.#take(records)
    return records
  }

  /** A new parcel and its key. Rejects with `PARCEL_EXISTS`, `NAME_INVALID`. */
  async createParcel(
    name: string,
    compressionLevel?: number | null
  ): Promise<{ id: Buffer; key: Buffer }> {
    this.#refuseParcel(checkName(name, 'parcel'))
    const id = randomBytes(16)
    const key = randomBytes(KEY_BYTES)
    const wrapped = this.keyring.wrapParcelKey(id, key)
    const drafts: RecordDraft[] = [{ kind: 'parcel', body: { parcel: id, name, ...wrapped } }]
    if (compressionLevel != null) {
      const body = { parcel: id, level: compressionLevel }
      drafts.push({ kind: 'parcel-compression', body })
    }
    await this.append(...drafts)
    return { id, key }
  }

  /** Rejects with `PARCEL_EXISTS`, `NAME_INVALID`. */
  async renameParcel(id: Buffer, name: string): Promise<void> {
    this.#refuseParcel(checkName(name, 'parcel'))
    await this.append({ kind: 'parcel-name', body: { parcel: id, name } })
  }

  async appendLease(entry: LeaseEntry): Promise<void> {
    await this.append({ kind: 'lease', body: { entry: encodeLeaseEntry(entry) } })
  }

  /**
   * Admits a device or a cache and gives a device the fleet key; durable when it resolves. Resolves with its
   * name, another than the wished one where that was taken. Known ones keep what they have.
   */
  async admitDevice(publicKey: Buffer, wished: string, role: Role): Promise<string> {
    const known = this.view.members.get(publicKey)
    if (known !== null && known.removed) {
      throw new HyperparcelError('DEVICE_REMOVED', `${known.name} was removed from the fleet`, {
        hint: 'Join with an empty home: a removed device key is never admitted again.'
      })
    }
    if (known !== null && (known.role === role || known.role === 'device')) return known.name
    const name = freeName(checkName(wished, 'device'), (n) => this.deviceByName(n) !== null)
    const drafts: RecordDraft[] = [{ kind: 'device', body: { publicKey, name, role } }]
    if (role === 'device') {
      const recoveryKey = this.view.members.recoveryKey
      const readers = this.devices()
        .filter((device) => !device.removed && device.role === 'device')
        .map((device) => device.publicKey)
      readers.push(publicKey)
      if (recoveryKey !== null) readers.unshift(recoveryKey)
      drafts.push({ kind: 'key-epoch', body: this.keyring.keyEpochBody(readers) })
    }
    await this.append(...drafts)
    return name
  }

  // Cards

  /** Cards of all devices, encoded, the own one first: for every peer that connects. */
  cards(): Buffer[] {
    return this.#book.list().map(encodeCard)
  }

  /**
   * A card that a fleet member sent. True where it says something new (`card` is emitted then).
   * Rejects with `FORMAT_INVALID`, `FORMAT_TOO_NEW`, `CARD_INVALID`.
   */
  async addCard(bytes: Uint8Array): Promise<boolean> {
    if (!(await this.#book.add(bytes))) return false
    this.emit('card', Buffer.from(bytes))
    await this.#follow()
    return true
  }

  /** The logs that the net layer keeps fetched, and whose they are: null for one that an earlier card named. */
  registryLogs(): { log: Buffer; device: Buffer | null }[] {
    const former = this.#book.formerLogs.map((log) => ({ log, device: null }))
    return [
      ...this.#book.list().map((card) => ({ log: card.log, device: card.publicKey })),
      ...former
    ]
  }

  /** What this device signed before it had a registry. */
  #first(): StoredRecord[] {
    const records = this.identity.records.map((bytes) => decodeRecord(bytes))
    return records.filter((record) => record !== null).map(stored)
  }

  #refuseParcel(name: string): void {
    if (this.parcelByName(name) === null) return
    throw new HyperparcelError('PARCEL_EXISTS', `There is a parcel called ${name} already`, {
      hint: 'Choose another name.',
      context: { parcel: name }
    })
  }

  /** Reads logs that cards name now, and no others. */
  async #follow(): Promise<void> {
    if (this.closing) return
    const wanted = new Map(this.registryLogs().map(({ log }) => [log.toString('hex'), log]))
    for (const [id, reader] of this.#readers) {
      if (wanted.has(id)) continue
      this.#readers.delete(id)
      await reader.close()
    }
    for (const log of wanted.values()) await this.#read(log)
  }

  async #read(log: Buffer): Promise<void> {
    const id = log.toString('hex')
    if (this.#readers.has(id)) return
    const opened: Log = await this.#store.open(log)
    if (this.#readers.has(id) || this.closing) return
    const reader = new LogReader({
      log: opened,
      keyring: this.keyring,
      onrecords: (records) => {
        this.#own.saw(records, log)
        this.#take(records)
      },
      onproblem: (err, key, block) => this.#problem(err, { log: key.toString('hex'), block })
    })
    this.#readers.set(id, reader)
    await reader.start()
  }

  #take(records: StoredRecord[]): void {
    let changed = false
    for (const record of records) {
      try {
        if (this.view.add(record) === 'new') changed = true
      } catch (err) {
        this.#problem(err, { author: record.record.author.toString('hex') })
      }
    }
    if (!changed || this.#updating) return
    this.#updating = true
    queueMicrotask(() => {
      this.#updating = false
      if (!this.closing) this.emit('update')
    })
  }

  /** The keyring has a new key: keep it, and read what it opens. */
  #learned(): void {
    this.#storing = this.#storing
      .then(() => storeIdentity(this.#keysDirectory, this.identity))
      .catch((err: unknown) => this.#problem(err))
    for (const reader of this.#readers.values()) reader.retry()
  }

  #problem(err: unknown, context?: Record<string, unknown>): void {
    const { code, message, hint, cause } = HyperparcelError.from(err)
    try {
      this.emit('problem', new HyperparcelError(code, message, { hint, cause, context }))
    } catch (thrown) {
      safetyCatch(thrown)
    }
  }
}
