/**
 * Device cards: where the registry log of each device is. `<home>/keys/cards`; what is known here is durable
 * before it is told to others.
 *
 * Invariants
 * - Of each device only the card with the largest counter is kept. The log that the one before named is still read:
 *   its successor has all of it, but may not be here yet.
 * - An own counter is never less than the clock, so it grows even when an old copy of the home came back.
 */
import path from 'node:path'
import { HyperparcelError } from '../base/errors.ts'
import { readFileIfPresent, writeFileDurable } from '../base/files.ts'
import type { Clock } from '../base/clock.ts'
import { decodeCard, encodeCard } from '../format/device-card.ts'
import type { DeviceCard } from '../format/device-card.ts'
import { CARD_FILE } from '../format/key-file.ts'
import { DEVICES_MAX } from '../format/registry.ts'
import type { KeyPair } from './sign.ts'
import { sign, verify } from './sign.ts'

const LABEL = 'device card'
const NO_SIGNATURE = Buffer.alloc(64)
/** Former logs that are still read: each holds nearly the same records. */
const FORMER_LOGS_MAX = 64

export interface CardBookOptions {
  fleet: Buffer
  device: KeyPair
  keysDirectory: string
  clock: Clock
}

export class CardBook {
  readonly #opts: CardBookOptions
  readonly #cards = new Map<string, DeviceCard>()
  #formerLogs: Buffer[] = []
  #saving: Promise<void> = Promise.resolve()

  constructor(opts: CardBookOptions) {
    this.#opts = opts
  }

  async load(): Promise<void> {
    const data = await readFileIfPresent(this.#file)
    if (data === null) return
    const { cards, formerLogs } = CARD_FILE.decode(data)
    for (const bytes of cards) {
      const card = decodeCard(bytes)
      if (isGenuine(this.#opts.fleet, card)) this.#cards.set(card.publicKey.toString('hex'), card)
    }
    this.#formerLogs = formerLogs
  }

  /** This device's card; null before it has one. */
  get own(): DeviceCard | null {
    return this.#cards.get(this.#opts.device.publicKey.toString('hex')) ?? null
  }

  /** The own one first. */
  list(): DeviceCard[] {
    const { own } = this
    const others = [...this.#cards.values()].filter((card) => card !== own)
    return own === null ? others : [own, ...others]
  }

  /** Registry logs that cards named before, newest first. */
  get formerLogs(): readonly Buffer[] {
    return this.#formerLogs
  }

  /**
   * Takes a card in, durably. False where it says nothing new.
   * Rejects with `FORMAT_INVALID`, `FORMAT_TOO_NEW`, `CARD_INVALID`.
   */
  async add(bytes: Uint8Array): Promise<boolean> {
    const card = decodeCard(Buffer.from(bytes))
    const id = card.publicKey.toString('hex')
    const known = this.#cards.get(id)
    if (known !== undefined && compare(card, known) <= 0) return false
    if (!isGenuine(this.#opts.fleet, card)) {
      throw new HyperparcelError('CARD_INVALID', 'A device card has a wrong signature')
    }
    if (known === undefined && this.#cards.size >= DEVICES_MAX) {
      throw new HyperparcelError('CARD_INVALID', `More than ${DEVICES_MAX} devices have cards`)
    }
    this.#cards.set(id, card)
    // A newer own card than ours: this home is an old copy. What that log holds is ours too.
    if (card.publicKey.equals(this.#opts.device.publicKey)) this.#remember(card.log)
    else if (known !== undefined && !known.log.equals(card.log)) this.#remember(known.log)
    await this.#save()
    return true
  }

  async forget(publicKey: Buffer): Promise<void> {
    if (this.#cards.delete(publicKey.toString('hex'))) await this.#save()
  }

  /** The log named by the own card is one of former logs from now on, durably. */
  async retireOwn(): Promise<void> {
    const { own } = this
    if (own === null) return
    this.#remember(own.log)
    await this.#save()
  }

  /** A new own card, durably. */
  async renew(log: Buffer, name: string): Promise<DeviceCard> {
    const { fleet, device, clock } = this.#opts
    const counter = Math.max((this.own?.counter ?? 0) + 1, clock.now())
    const card: DeviceCard = {
      publicKey: device.publicKey,
      name,
      counter,
      log,
      signature: NO_SIGNATURE
    }
    card.signature = sign(device, LABEL, fleet, signedPart(card))
    this.#cards.set(device.publicKey.toString('hex'), card)
    this.#formerLogs = this.#formerLogs.filter((former) => !former.equals(log))
    await this.#save()
    return card
  }

  get #file(): string {
    return cardFile(this.#opts.keysDirectory)
  }

  #remember(log: Buffer): void {
    const others = this.#formerLogs.filter((former) => !former.equals(log))
    this.#formerLogs = [log, ...others].slice(0, FORMER_LOGS_MAX)
  }

  #save(): Promise<void> {
    const data = CARD_FILE.encode({
      cards: this.list().map(encodeCard),
      formerLogs: this.#formerLogs
    })
    const saving = this.#saving.then(() => writeFileDurable(this.#file, data, 0o600))
    this.#saving = saving.catch(() => {})
    return saving
  }
}

/** What an admitted candidate knows before it meets anybody: where its sponsor's registry log is. */
export async function storeFirstCard(keysDirectory: string, card: Buffer): Promise<void> {
  const data = CARD_FILE.encode({ cards: [card], formerLogs: [] })
  await writeFileDurable(cardFile(keysDirectory), data, 0o600)
}

function cardFile(keysDirectory: string): string {
  return path.join(keysDirectory, 'cards')
}

/** Was it signed by its device, for this fleet? */
export function isGenuine(fleet: Buffer, card: DeviceCard): boolean {
  return verify(card.publicKey, card.signature, LABEL, fleet, signedPart(card))
}

function signedPart(card: DeviceCard): Buffer {
  const bytes = encodeCard(card)
  return bytes.subarray(0, bytes.byteLength - 64)
}

/** Equal counters come only from a copied home; then the larger bytes win everywhere. */
function compare(a: DeviceCard, b: DeviceCard): number {
  return a.counter - b.counter || encodeCard(a).compare(encodeCard(b))
}
