/** What caches tell; `api.ts` has the rules. */

/** A cache's part in one fleet. */
export interface CacheRow {
  /** Id of the fleet. */
  fleet: string
  /** As that fleet calls this cache. */
  device: string
  quota_bytes: number
  /** Blocks of that fleet and what lies beside them in the store. */
  bytes_held: number
  /** Held, all of each; listed by devices. */
  versions: number
  versions_listed: number
  /** Not all of the newest versions fit into the quota. */
  full: boolean
  /** By how much they do not. */
  bytes_over: number
}

/** A version that devices want held. A cache knows neither its parcel's name nor its number. */
export interface HeldRow {
  fleet: string
  /** Ids. */
  parcel: string
  version: string
  time: string
  /** Sealed; about. */
  bytes_local: number
  bytes_total: number
  complete: boolean
}
