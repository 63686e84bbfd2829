/**
 * Standing orders of this device, `<home>/orders`: parcels whose new versions it fetches as they are made, and devices that
 * it has told, or has yet to tell, to do so.
 *
 * Invariants
 * - An order counts when it is durable; so does its end.
 * - Of one parcel, kind and device only the order that was given last counts. One that ended here stays so until a later
 *   one is given, whoever repeats it.
 *
 * Events: `change`.
 */
import { EventEmitter } from 'node:events'
import path from 'node:path'
import { HyperparcelError } from '../../base/errors.ts'
import { readFileIfPresent, writeFileDurable } from '../../base/files.ts'
import { ORDERS_MAX, ORDER_BOOK, type OrderKind } from '../../format/local-books.ts'
import type { StandingOrder } from '../../format/local-books.ts'

export class OrderBook extends EventEmitter {
  readonly #file: string
  #orders: StandingOrder[] = []
  #saving: Promise<void> = Promise.resolve()

  constructor(home: string) {
    super()
    this.#file = path.join(home, 'orders')
  }

  /** Rejects with `FORMAT_INVALID` or `FORMAT_TOO_NEW`. */
  async load(): Promise<void> {
    const data = await readFileIfPresent(this.#file)
    // Copied: decoded buffers are views of the file.
    if (data !== null) this.#orders = ORDER_BOOK.decode(Buffer.from(data)).orders
  }

  /** Those in force, of one parcel or of all. */
  active(kind: OrderKind, parcel?: Buffer): StandingOrder[] {
    return this.of(kind, parcel).filter(({ ended }) => !ended)
  }

  /** Ended ones too. */
  of(kind: OrderKind, parcel?: Buffer): StandingOrder[] {
    return this.#orders.filter(
      (order) => order.kind === kind && (parcel === undefined || order.parcel.equals(parcel))
    )
  }

  /**
   * Durable on return. False when it, or a later one, ended here already. Rejects with `ORDERS_EXHAUSTED`.
   */
  async give(parcel: Buffer, kind: OrderKind, device: Buffer, since: number): Promise<boolean> {
    const known = this.#find(parcel, kind, device)
    if (known !== undefined && known.since >= since) return !known.ended
    if (known === undefined && this.#orders.length >= ORDERS_MAX) {
      throw new HyperparcelError('ORDERS_EXHAUSTED', `${ORDERS_MAX} standing orders are known here`)
    }
    await this.#replace(known, {
      parcel: Buffer.from(parcel),
      kind,
      device: Buffer.from(device),
      since,
      ended: false
    })
    return true
  }

  /** As `give`, by the user of this device: later than whatever was given before. */
  async renew(parcel: Buffer, kind: OrderKind, device: Buffer): Promise<void> {
    const before = this.#find(parcel, kind, device)?.since ?? 0
    await this.give(parcel, kind, device, Math.max(Date.now(), before + 1))
  }

  /** Durable on return. False where there was none. */
  async end(parcel: Buffer, kind: OrderKind, device: Buffer): Promise<boolean> {
    const known = this.#find(parcel, kind, device)
    if (known === undefined || known.ended) return false
    await this.#replace(known, { ...known, ended: true })
    return true
  }

  /** Forgets it: nobody will repeat it, or everybody concerned knows of its end. */
  async drop(order: StandingOrder): Promise<void> {
    const known = this.#find(order.parcel, order.kind, order.device)
    if (known?.since === order.since) await this.#replace(known, null)
  }

  #find(parcel: Buffer, kind: OrderKind, device: Buffer): StandingOrder | undefined {
    return this.of(kind, parcel).find((order) => order.device.equals(device))
  }

  async #replace(before: StandingOrder | undefined, after: StandingOrder | null): Promise<void> {
    const others = this.#orders.filter((order) => order !== before)
    this.#orders = after === null ? others : [...others, after]
    const data = ORDER_BOOK.encode({ orders: this.#orders })
    const saving = this.#saving.then(() => writeFileDurable(this.#file, data, 0o600))
    this.#saving = saving.catch(() => {})
    await saving
    this.emit('change')
  }
}
