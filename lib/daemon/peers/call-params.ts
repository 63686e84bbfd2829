/** Parameters and answers of calls that devices and caches both take. */
import * as v from 'valibot'

/** Versions asked about at once, and named in one answer. */
export const HOLDS_MAX = 4096

export const Hex = (bytes: number) => v.pipe(v.string(), v.hexadecimal(), v.length(bytes * 2))

export const Cards = v.object({
  cards: v.pipe(v.array(v.pipe(v.string(), v.maxLength(4096))), v.maxLength(512))
})

export const Holds = v.object({ parcel: Hex(16), version: Hex(32) })

export const HoldsEach = v.object({
  parcel: Hex(16),
  versions: v.pipe(v.array(Hex(32)), v.maxLength(HOLDS_MAX))
})

/** Of one version: is all of it here, durably, and is it open here? Of its parcel: does it run here? */
export interface HoldsAnswer {
  holds: boolean
  /** The reissued map that it is read through there: key of its log in hex, block. */
  annex?: { log: string; block: number }
  uses?: boolean
  /** Does the parcel run there? */
  runs?: boolean
}
