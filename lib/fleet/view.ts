/**
 * The fleet as all records together tell it. Pure, and free of order: the same set of records gives the same
 * view. A record counts when its signature verifies and its author belongs to the fleet; one of an unknown
 * author waits until a record shows up that admits the author.
 */
import { HyperparcelError } from '../base/errors.ts'
import { decodeLeaseEntry } from '../format/lease.ts'
import type { KeyEpochBody, RecordOf } from '../format/registry.ts'
import { Members } from './members.ts'
import { Parcels } from './parcels.ts'
import type { StoredRecord } from './records.ts'
import { isKind, verifyRecord } from './records.ts'

export type Outcome = 'new' | 'known' | 'waiting'

export class FleetView {
  readonly members: Members
  readonly parcels = new Parcels()
  readonly #fleet: Buffer
  readonly #known = new Set<string>()
  readonly #waiting = new Map<string, StoredRecord[]>()
  readonly #keyEpochs: RecordOf<'key-epoch'>[] = []
  readonly #onkeys: (body: KeyEpochBody) => void

  /**
   * @param trusted public keys that count without an admission: this device, and who admitted it
   * @param onkeys called with each key epoch that counts
   */
  constructor(fleet: Buffer, trusted: Buffer[], onkeys: (body: KeyEpochBody) => void = () => {}) {
    this.#fleet = fleet
    this.#onkeys = onkeys
    this.members = new Members(fleet, trusted)
    this.parcels.nameOf = (device) =>
      this.members.get(device)?.name ?? device.toString('hex').slice(0, 6)
  }

  /** Throws `RECORD_INVALID` where the signature does not verify, `FORMAT_INVALID` where the content is none. */
  add(stored: StoredRecord): Outcome {
    if (this.#known.has(stored.hash)) return 'known'
    if (!verifyRecord(this.#fleet, stored)) {
      throw new HyperparcelError('RECORD_INVALID', 'A registry record has a wrong signature')
    }
    if (isKind(stored.record, 'lease')) decodeLeaseEntry(stored.record.body.entry)
    if (!this.members.maySign(stored.record)) {
      const author = stored.record.author.toString('hex')
      const waiting = this.#waiting.get(author)
      if (waiting === undefined) this.#waiting.set(author, [stored])
      else if (!waiting.some((other) => other.hash === stored.hash)) waiting.push(stored)
      return 'waiting'
    }
    this.#take(stored)
    return 'new'
  }

  has(hash: string): boolean {
    return this.#known.has(hash)
  }

  /** Records of authors that nobody admitted yet. */
  get waiting(): number {
    let count = 0
    for (const records of this.#waiting.values()) count += records.length
    return count
  }

  keyEpochs(): readonly RecordOf<'key-epoch'>[] {
    return this.#keyEpochs
  }

  #take(first: StoredRecord): void {
    const taken = [first]
    for (let stored = taken.pop(); stored !== undefined; stored = taken.pop()) {
      if (this.#known.has(stored.hash)) continue
      this.#known.add(stored.hash)
      const { record } = stored
      for (const admitted of this.members.add(stored)) {
        const waiting = this.#waiting.get(admitted) ?? []
        this.#waiting.delete(admitted)
        for (const other of waiting) {
          // A cache belongs, but its records do not count.
          if (this.members.maySign(other.record)) taken.push(other)
        }
      }
      if (isKind(record, 'device')) this.parcels.renew()
      if (isKind(record, 'key-epoch')) {
        this.#keyEpochs.push(record)
        this.#onkeys(record.body)
      }
      this.parcels.add(stored)
    }
  }
}
