/**
 * What a device remembers for itself, in files of its home: the standing orders that it obeys, and who said to hold which
 * version. Neither is ever sent. Byte tables are in `README.md`.
 */
import { bool, bytes16, bytes32, list, oneOf, struct, uint } from './fields.ts'
import { defineDocument } from './document.ts'

export const ORDERS_MAX = 4096
export const HOLDINGS_MAX = 16_384

/** `follow`: fetch each new version; `push`: have that device follow. */
export type OrderKind = 'follow' | 'push'

export const ORDER_KIND: Readonly<Record<OrderKind, number>> = { follow: 1, push: 2 }

export interface StandingOrder {
  parcel: Buffer
  kind: OrderKind
  /** Public key: of a follow who wants it, this device itself where its own user does; of a push to whom. */
  device: Buffer
  /** When it was given, by the clock of who gave it, milliseconds since the epoch. */
  since: number
  /** Kept so that the order before it is not taken for a new one, or until the other device was told. */
  ended: boolean
}

export const ORDER_BOOK = defineDocument<{ orders: StandingOrder[] }>({
  what: 'a list of standing orders',
  magic: 'HPSO',
  format: 1,
  bytesMax: 512 * 1024,
  body: struct<{ orders: StandingOrder[] }>({
    orders: list(
      struct<StandingOrder>({
        parcel: bytes16,
        kind: oneOf(ORDER_KIND),
        device: bytes32,
        since: uint,
        ended: bool
      }),
      ORDERS_MAX
    )
  })
})

/** That device said that it had all of that version. */
export interface Holding {
  version: Buffer
  /** Public key. */
  device: Buffer
  /** When it last said so, by our clock, milliseconds since the epoch. */
  time: number
}

export const REPLICA_BOOK = defineDocument<{ holdings: Holding[] }>({
  what: 'a list of replicas',
  magic: 'HPRB',
  format: 1,
  bytesMax: 2 * 1024 * 1024,
  body: struct<{ holdings: Holding[] }>({
    holdings: list(struct<Holding>({ version: bytes32, device: bytes32, time: uint }), HOLDINGS_MAX)
  })
})
