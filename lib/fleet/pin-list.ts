/** Signing of pin lists. A cache verifies them by public keys alone. */
import { HyperparcelError } from '../base/errors.ts'
import { decodePinList, encodePinList, type PinList } from '../format/pin-list.ts'
import type { KeyPair } from './sign.ts'
import { sign, verify } from './sign.ts'

const LABEL = 'pin list'
const SIGNATURE_BYTES = 64

/** The signed list, encoded. Throws `FORMAT_INVALID` for what is too large. */
export function signPinList(device: KeyPair, draft: Omit<PinList, 'device' | 'signature'>): Buffer {
  const list = { ...draft, device: device.publicKey, signature: Buffer.alloc(SIGNATURE_BYTES) }
  const bytes = encodePinList(list)
  sign(device, LABEL, unsigned(bytes)).copy(bytes, bytes.byteLength - SIGNATURE_BYTES)
  return bytes
}

/**
 * A list that its device signed, for that fleet. Whether the device belongs is the caller's to know.
 * Throws `PIN_LIST_INVALID`, `FORMAT_INVALID`, `FORMAT_TOO_NEW`.
 */
export function openPinList(fleet: Buffer, bytes: Buffer): PinList {
  const list = decodePinList(bytes)
  if (list.fleet.equals(fleet) && verify(list.device, list.signature, LABEL, unsigned(bytes))) {
    return list
  }
  throw new HyperparcelError('PIN_LIST_INVALID', 'A pin list is not signed for this fleet')
}

function unsigned(bytes: Buffer): Buffer {
  return bytes.subarray(0, bytes.byteLength - SIGNATURE_BYTES)
}
