/** What `status` tells; `api.ts` has the rules. */
import type { Role } from '../fleet/index.ts'
import type { CacheRow } from './api-cache.ts'
import type { LowSpace, OrderRow } from './api-versions.ts'

export interface StatusResult {
  device: string | null
  fleet: string | null
  role: Role | null
  home: string
  peers: number
  online: string[]
  running: string[]
  /** Standing orders. */
  orders: OrderRow[]
  /** Everything this home stores. */
  bytes_stored: number
  /** Free on its file system. */
  bytes_free: number
  /** Absent while that is enough. */
  low_space?: LowSpace
  /** On a cache: its part in each fleet. Then `fleet` is null where there are several. */
  caches?: CacheRow[]
  /** Absent where there are none. */
  conflicts?: LogConflict[]
}

/** Two histories of one log were signed: its store was copied or rolled back, and both went on. */
export interface LogConflict {
  /** Key, hex. */
  log: string
  /** Null for a log about the fleet, or an unknown one. */
  parcel: string | null
  /** Device that writes it, null where that is not known. */
  author: string | null
  /** Device that had the second history. */
  shown_by: string
  /** Blocks that each history had. */
  lengths: [number, number]
  seen: string
}
