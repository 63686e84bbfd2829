/**
 * The fleet keys that this device has, one per key epoch, and what rests under them. A removed device's records
 * may bring a second key of the same epoch, so an epoch can have several; opening tries all of them.
 */
import { HyperparcelError, assert } from '../base/errors.ts'
import type { KeyEpochBody } from '../format/registry.ts'
import { KEY_BYTES, derive, fleetTopic, randomBytes, registryKey, wipe } from './derive.ts'
import type { KeyPair } from './sign.ts'
import { boxFor, openBox, unwrap, wrap } from './wrap.ts'

export class Keyring {
  /** Keys the chunk ids; the same through all key epochs, so that deduplication goes on. */
  readonly dedupKey: Buffer
  readonly #keys = new Map<number, Buffer[]>()
  readonly #registryKeys = new Map<number, Buffer[]>()
  #epoch = 0

  constructor(dedupKey: Buffer, keys: { epoch: number; key: Buffer }[]) {
    this.dedupKey = dedupKey
    for (const { epoch, key } of keys) this.add(epoch, key)
  }

  /** First key epoch of a new fleet. */
  static create(): Keyring {
    return new Keyring(randomBytes(KEY_BYTES), [{ epoch: 1, key: randomBytes(KEY_BYTES) }])
  }

  /** The newest key epoch; everything new is sealed under it. */
  get epoch(): number {
    return this.#epoch
  }

  /** False where it was known. */
  add(epoch: number, key: Buffer): boolean {
    assert(key.byteLength === KEY_BYTES && epoch > 0, 'a fleet key has 32 bytes and an epoch')
    const known = this.#keys.get(epoch) ?? []
    if (known.some((other) => other.equals(key))) return false
    this.#keys.set(epoch, [...known, key])
    this.#registryKeys.set(epoch, [...(this.#registryKeys.get(epoch) ?? []), registryKey(key)])
    if (epoch > this.#epoch) this.#epoch = epoch
    return true
  }

  /** Throws `KEY_MISSING`. */
  fleetKey(epoch = this.#epoch): Buffer {
    const key = this.#keys.get(epoch)?.[0]
    if (key === undefined) throw missing(epoch)
    return key
  }

  /** Seals registry records of the newest epoch. */
  get registryKey(): Buffer {
    return this.registryKeys(this.#epoch)[0]
  }

  /** Empty for an epoch whose key is not known here. */
  registryKeys(epoch: number): readonly Buffer[] {
    return this.#registryKeys.get(epoch) ?? []
  }

  /** Seals the indexes of sticks: the same through all key epochs, so that an old stick stays readable. */
  get stickKey(): Buffer {
    return derive(this.dedupKey, 'lookaside stick')
  }

  /** Where the fleet meets: of the newest epoch. */
  get topic(): Buffer {
    return fleetTopic(this.fleetKey())
  }

  entries(): { epoch: number; key: Buffer }[] {
    return [...this.#keys].flatMap(([epoch, keys]) => keys.map((key) => ({ epoch, key })))
  }

  wrapParcelKey(parcel: Buffer, key: Buffer): { keyEpoch: number; wrappedKey: Buffer } {
    const under = derive(this.fleetKey(), 'wrap parcel key')
    return { keyEpoch: this.#epoch, wrappedKey: wrap(under, key, parcel) }
  }

  /** Throws `KEY_MISSING`, `DATA_CORRUPT`. */
  unwrapParcelKey(parcel: Buffer, keyEpoch: number, wrappedKey: Buffer): Buffer {
    const keys = this.#keys.get(keyEpoch)
    if (keys === undefined) throw missing(keyEpoch)
    return firstThatOpens(keys, (key) => unwrap(derive(key, 'wrap parcel key'), wrappedKey, parcel))
  }

  /** The newest epoch's key for all of `readers`, the recovery key among them. */
  keyEpochBody(readers: Buffer[]): KeyEpochBody {
    const key = this.fleetKey()
    const before = this.#keys.get(this.#epoch - 1)?.[0]
    return {
      epoch: this.#epoch,
      boxes: readers.map((reader) => boxFor(reader, key)),
      previous: before ? wrap(derive(key, 'wrap previous fleet key'), before, EMPTY) : null,
      dedup: wrap(derive(key, 'wrap dedup key'), this.dedupKey, EMPTY)
    }
  }

  /** Takes over what a key epoch has for `reader`. True where that was new. */
  learn(body: KeyEpochBody, reader: KeyPair): boolean {
    if (this.#keys.has(body.epoch) && (body.previous === null || this.#keys.has(body.epoch - 1))) {
      return false
    }
    const opened = openKeyEpoch(body, reader)
    if (opened === null) return false
    let news = this.add(body.epoch, opened.fleetKey)
    if (opened.previous !== null && body.epoch > 1) {
      news = this.add(body.epoch - 1, opened.previous) || news
    }
    return news
  }

  /** Overwrites all of it. */
  wipe(): void {
    for (const keys of this.#keys.values()) wipe(...keys)
    for (const keys of this.#registryKeys.values()) wipe(...keys)
    wipe(this.dedupKey)
  }
}

/** What a key epoch holds for the owner of `reader`; null where it has no box for it. */
export function openKeyEpoch(
  body: KeyEpochBody,
  reader: KeyPair
): { fleetKey: Buffer; dedupKey: Buffer; previous: Buffer | null } | null {
  for (const box of body.boxes) {
    const fleetKey = openBox(reader, box)
    if (fleetKey === null) continue
    const dedupKey = unwrap(derive(fleetKey, 'wrap dedup key'), body.dedup, EMPTY)
    const previous = body.previous
      ? unwrap(derive(fleetKey, 'wrap previous fleet key'), body.previous, EMPTY)
      : null
    return { fleetKey, dedupKey, previous }
  }
  return null
}

function firstThatOpens(keys: readonly Buffer[], open: (key: Buffer) => Buffer): Buffer {
  for (const key of keys.slice(0, -1)) {
    try {
      return open(key)
    } catch {
      // Another key of the same epoch may fit.
    }
  }
  return open(keys[keys.length - 1])
}

function missing(epoch: number): HyperparcelError {
  return new HyperparcelError('KEY_MISSING', `The fleet key of epoch ${epoch} is not known here`, {
    hint: 'It arrives with the registry: connect to another device of the fleet.'
  })
}

const EMPTY = Buffer.alloc(0)
