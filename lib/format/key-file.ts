/** Files under `<home>/keys`: the device's own key, what it knows of its fleet, and the cards of the others. */
import { blob, bytes32, list, oneOf, optional, struct, text, uint } from './fields.ts'
import { defineDocument } from './document.ts'
import type { Role } from './registry.ts'
import { DEVICES_MAX, NAME_BYTES_MAX, RECORD_BYTES_MAX, ROLE } from './registry.ts'
import { DEVICE_CARD_BYTES_MAX } from './device-card.ts'

/** How the seed rests: as it is, or sealed under a key from the user's unlock secret (reserved). */
export type KeyProtection = 'none' | 'unlock-secret'

const PROTECTION: Readonly<Record<KeyProtection, number>> = { none: 0, 'unlock-secret': 1 }

export interface DeviceKeyFile {
  protection: KeyProtection
  /** Salt and costs of Argon2id; empty without an unlock secret. */
  parameters: Buffer
  /** 32 bytes, or those sealed. */
  seed: Buffer
}

export const DEVICE_KEY_FILE = defineDocument<DeviceKeyFile>({
  what: 'a device key',
  magic: 'HPDK',
  format: 1,
  bytesMax: 512,
  body: struct<DeviceKeyFile>({
    protection: oneOf(PROTECTION),
    parameters: blob(128),
    seed: blob(128)
  })
})

/** Rests under the device's local key, so it is as safe as the device key. */
export interface FleetFile {
  fleet: Buffer
  name: string
  role: Role
  topic: Buffer
  /** Null for a cache. */
  dedupKey: Buffer | null
  fleetKeys: { epoch: number; key: Buffer }[]
  /** Public key of the member that admitted this device, trusted until the registry shows the whole chain. */
  sponsor: Buffer | null
  /** Records that this device signed before it had a registry. */
  records: Buffer[]
}

export const FLEET_FILE = defineDocument<FleetFile>({
  what: 'the keys of a fleet',
  magic: 'HPFK',
  format: 1,
  bytesMax: 512 * 1024,
  body: struct<FleetFile>({
    fleet: bytes32,
    name: text(NAME_BYTES_MAX),
    role: oneOf(ROLE),
    topic: bytes32,
    dedupKey: optional(bytes32),
    fleetKeys: list(struct<{ epoch: number; key: Buffer }>({ epoch: uint, key: bytes32 }), 4096),
    sponsor: optional(bytes32),
    records: list(blob(RECORD_BYTES_MAX), 4)
  })
})

export interface CardFile {
  cards: Buffer[]
  /** Registry logs that this device wrote before its present one. */
  formerLogs: Buffer[]
}

export const CARD_FILE = defineDocument<CardFile>({
  what: 'a list of device cards',
  magic: 'HPCF',
  format: 1,
  bytesMax: 256 * 1024,
  body: struct<CardFile>({
    cards: list(blob(DEVICE_CARD_BYTES_MAX), 2 * DEVICES_MAX),
    formerLogs: list(bytes32, 1024)
  })
})
