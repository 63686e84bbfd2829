/** The part of the daemon's API that is about parcels and versions as a whole; `api.ts` has the rules. */
import type { Method, MethodRules, Named } from './api.ts'

export interface VersionApi {
  /** `PARCEL_EXISTS`, `NAME_INVALID`. */
  rename: Method<Named & { to: string }, { parcel: string }>
  /**
   * Takes the lease; the parcel is gone on every device. Here the space of what nobody else needs comes back, on other
   * devices when they prune or remove something. `PARCEL_RUNNING`, `LEASE_HELD`.
   */
  remove: Method<Named, { parcel: string; bytes_freed: number }>
  /** A new version with the content of that one. `PARCEL_RUNNING`, `LEASE_HELD`, `CRASH_CHOICE`, `DATA_UNREACHABLE`. */
  rollback: Method<Named & { version: number }, { parcel: string; version: number }>
  /** Reads and opens everything that is stored of a parcel's versions, of all parcels without a name. */
  verify: Method<VerifyParams, VerifyResult>
  /**
   * Drops the data of a parcel that another connected device has, and gives its space back. `PARCEL_RUNNING`,
   * `LAST_COPY`.
   */
  evict: Method<Named, EvictResult>
  /**
   * Forgets all but the newest versions on this device, and gives the space back of everything that no version needs.
   * `DATA_CORRUPT` where maps are damaged.
   */
  prune: Method<PruneParams, PruneResult>
  stats: Method<{ name?: string }, StatsResult>
}

export interface PruneParams extends Named {
  /** How many of the newest versions stay. */
  keep: number
  /** Only says what would go. */
  dryRun?: boolean
}

export interface PruneResult {
  parcel: string
  /** By which store and index on the disk became smaller. */
  bytes_freed: number
  /** Deleted, but not given back yet: there was too little room to move what it lies among. The next time goes on. */
  bytes_pending: number
  /** About the bytes of the blocks that go. */
  bytes_expected: number
  blocks_dropped: number
  /** Segments of which the versions that stay need little; with `dryRun` that is what would be rewritten. */
  segments_mostly_dead: number
  /** What is needed of so many went to others, for which the maps of so many versions were written anew. */
  segments_rewritten: number
  maps_reissued: number
  /** By that, sealed. */
  bytes_rewritten: number
  /** Numbers of versions. */
  kept: number[]
  /** Those that had data here. */
  dropped: number[]
  /** Of these, those that no other device is known to have. */
  only_copies: number[]
}

export interface EvictResult {
  parcel: string
  /** By which the store on the disk became smaller. */
  bytes_freed: number
  blocks_dropped: number
  /** Of the newest version, not stored here now. */
  bytes_missing: number
}

/** The disk of the home fills up. */
export interface LowSpace {
  bytes_free: number
  /** About what `command` would give back; null where pruning gives nothing worth a word. */
  bytes_prunable: number
  command: string | null
}

/** Of one parcel, or of all. */
export interface StatsResult {
  parcel: string | null
  parcels: number
  versions: number
  /** All versions as if each were stored by itself, and what they really added. */
  bytes_total: number
  bytes_new: number
  /** What they added as stored, where the records are here. */
  bytes_packed: number
  /** `bytes_total` ÷ `bytes_new`; null without versions. */
  dedup_ratio: number | null
  /** Of the newest version of each. */
  bytes_local: number
  /** Of this device: on disk, and chunks that a commit would find again. */
  bytes_stored: number
  chunks_indexed: number
  logs: number
  /** Since the daemon started, by connected device. */
  peers: {
    name: string
    rtt_ms: number | null
    bytes_received: number
    bytes_sent: number
    blocks_received: number
    block_bytes_received: number
    demand_bytes_received: number
    blocks_sent: number
    block_bytes_sent: number
    blocks_wasted: number
  }[]
  /** In use here now. */
  running: {
    parcel: string
    state: string
    /** Overlay bytes that no version has. */
    dirty_bytes: number
    /** Stored already for the next version; also what changed again since. */
    ahead_bytes: number
    /** Of blocks that had to come from peers. */
    bytes_fetched: number
    waiting_ms: number
  }[]
}

export interface VerifyParams {
  name?: string
  version?: number
  /** Fetches good copies of what is bad. */
  repair: boolean
}

/** Numbers of blocks. */
export interface VerifyResult {
  parcel: string | null
  checked: number
  bytes_checked: number
  /** Not stored here: nothing was said about them. */
  missing: number
  /** Still bad at the end. */
  bad: number
  repaired: number
  /** Some of those that were bad. */
  found: { log: string; block: number; why: string; repaired: boolean }[]
}

export const VERSION_METHODS: Readonly<Record<keyof VersionApi, MethodRules>> = {
  rename: { oncancel: 'ignore', onclose: 'continue' },
  remove: { oncancel: 'ignore', onclose: 'continue' },
  verify: { oncancel: 'undo', onclose: 'undo' },
  evict: { oncancel: 'undo', onclose: 'continue' },
  prune: { oncancel: 'undo', onclose: 'continue' },
  stats: { oncancel: 'undo', onclose: 'undo' },
  rollback: { oncancel: 'undo', onclose: 'continue' }
}
