/**
 * What a cache knows of one fleet besides its pin lists: `<home>/keys/caches/<fleet>/state`. No secret is in it.
 */
import { defineDocument } from './document.ts'
import { bytes32, list, struct, uint } from './fields.ts'
import { PIN_LOGS_MAX } from './pin-list.ts'

/** Blocks that are evicted and counted together: up to 16 MiB. */
export const RANGE_BLOCKS = 256
/** Older uses are forgotten: those ranges go first. */
export const USES_MAX = 32_768

export interface RangeUse {
  /** Number in the state's table of logs. */
  log: number
  /** First block of the range ÷ `RANGE_BLOCKS`. */
  range: number
  /** When a device last got a block of it, seconds since the epoch. */
  time: number
}

export interface CacheState {
  quotaBytes: number
  /** Logs of which something of this fleet is, or is to be, stored here. */
  logs: Buffer[]
  uses: RangeUse[]
}

const DOCUMENT = defineDocument<CacheState>({
  what: "a cache's state",
  magic: 'HPCS',
  format: 1,
  bytesMax: 1024 * 1024,
  body: struct<CacheState>({
    quotaBytes: uint,
    logs: list(bytes32, PIN_LOGS_MAX),
    uses: list(struct<RangeUse>({ log: uint, range: uint, time: uint }), USES_MAX)
  })
})

export const encodeCacheState = DOCUMENT.encode
/** Throws `FORMAT_INVALID`, `FORMAT_TOO_NEW`. */
export const decodeCacheState = DOCUMENT.decode
