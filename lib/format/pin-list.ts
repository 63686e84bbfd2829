/**
 * Pin lists: what a device wants caches to hold, newest first. Not sealed, since a cache has no key: logs, runs of
 * blocks and times, no name. It travels in a call of an encrypted connection, and rests in the cache's home.
 */
import { defineDocument } from './document.ts'
import { bool, bytes16, bytes32, bytes64, invalid, list, optional, struct, uint } from './fields.ts'
import { DEVICES_MAX } from './registry.ts'
import { CALL_BYTES_MAX } from './call.ts'

/** It is an attachment of one call. */
export const PIN_LIST_BYTES_MAX = CALL_BYTES_MAX
export const PIN_LOGS_MAX = 8192
export const PIN_ENTRIES_MAX = 4096
/** Of one entry. Each takes three bytes at least. */
export const PIN_RUNS_MAX = 349_525

/** Of all entries together: what a cache remembers of them is a bit each. */
export const PIN_BLOCKS_MAX = 2 ** 27
/** No log is longer. */
const BLOCK_MAX = 2 ** 40

export interface PinRun {
  /** Number in the list's table of logs. */
  log: number
  start: number
  count: number
}

/** A version, by what it needs besides the entries of its parcel that stand before it. */
export interface PinEntry {
  version: Buffer
  parcel: Buffer
  /** When it was made, milliseconds since the epoch. */
  time: number
  /** About the bytes of these runs, sealed. */
  bytes: number
  /** The reissued map that it is read through. */
  annex: { log: number; block: number } | null
  runs: PinRun[]
}

export interface PinMember {
  publicKey: Buffer
  removed: boolean
}

export interface PinList {
  fleet: Buffer
  /** Public key of the device that signed it. */
  device: Buffer
  /** Larger in each further list of a device, which takes the place of the one before. */
  counter: number
  /** Where the fleet's members meet. */
  topic: Buffer
  /** Devices of the fleet, without caches. */
  members: PinMember[]
  logs: Buffer[]
  /** The newest version of each parcel first, then the second newest, and so on. */
  entries: PinEntry[]
  signature: Buffer
}

const DOCUMENT = defineDocument<PinList>({
  what: 'a pin list',
  magic: 'HPPL',
  format: 1,
  bytesMax: PIN_LIST_BYTES_MAX,
  body: struct<PinList>({
    fleet: bytes32,
    device: bytes32,
    counter: uint,
    topic: bytes32,
    members: list(struct<PinMember>({ publicKey: bytes32, removed: bool }), DEVICES_MAX),
    logs: list(bytes32, PIN_LOGS_MAX),
    entries: list(
      struct<PinEntry>({
        version: bytes32,
        parcel: bytes16,
        time: uint,
        bytes: uint,
        annex: optional(struct<{ log: number; block: number }>({ log: uint, block: uint })),
        runs: list(struct<PinRun>({ log: uint, start: uint, count: uint }), PIN_RUNS_MAX)
      }),
      PIN_ENTRIES_MAX
    ),
    signature: bytes64
  })
})

/** Throws `FORMAT_INVALID` for what is too large. */
export function encodePinList(value: PinList): Buffer {
  return DOCUMENT.encode(value)
}

/** Throws `FORMAT_INVALID`, `FORMAT_TOO_NEW`. The signature is not looked at. */
export function decodePinList(data: Uint8Array): PinList {
  const value = DOCUMENT.decode(data)
  let blocks = 0
  for (const { runs, annex } of value.entries) {
    for (const { log, start, count } of runs) {
      blocks += count
      if (log >= value.logs.length || count === 0 || start + count > BLOCK_MAX) {
        throw invalid('A pin list names blocks that no log can have')
      }
    }
    if (blocks > PIN_BLOCKS_MAX) throw invalid('A pin list names too many blocks')
    if (annex !== null && annex.log >= value.logs.length) {
      throw invalid('A pin list names a map in a log that it does not have')
    }
  }
  return value
}
