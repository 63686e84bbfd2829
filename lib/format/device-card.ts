/** Where a device's registry log is: signed by the device, gossiped between connected members, newest counter wins. */
import { bytes32, bytes64, struct, text, uint } from './fields.ts'
import { defineDocument } from './document.ts'
import { NAME_BYTES_MAX } from './registry.ts'

export const DEVICE_CARD_BYTES_MAX = 256

export interface DeviceCard {
  /** Of the device, which signed it. */
  publicKey: Buffer
  name: string
  /** Larger in each further card of a device. */
  counter: number
  /** Key of its registry log. */
  log: Buffer
  signature: Buffer
}

const CARD = defineDocument<DeviceCard>({
  what: 'a device card',
  magic: 'HPDC',
  format: 1,
  bytesMax: DEVICE_CARD_BYTES_MAX,
  body: struct<DeviceCard>({
    publicKey: bytes32,
    name: text(NAME_BYTES_MAX),
    counter: uint,
    log: bytes32,
    signature: bytes64
  })
})

export function encodeCard(card: DeviceCard): Buffer {
  return CARD.encode(card)
}

/** Throws `FORMAT_INVALID`, `FORMAT_TOO_NEW`. The signature is not looked at. */
export function decodeCard(data: Uint8Array): DeviceCard {
  return CARD.decode(data)
}
