/** The part of the daemon's API that is about parcels and versions as a whole; `api.ts` has the rules. */
import type { ByteShare } from '../base/progress.ts'
import type { CacheRow } from './api-cache.ts'
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
   * Fetches all of a version. With `follow` that is a standing order from now on, for each new version; with `unfollow` it
   * ends, whoever gave it, and nothing is fetched. `DATA_UNREACHABLE`, `DISK_FULL`.
   */
  hoard: Method<HoardParams, HoardResult>
  /**
   * Has another device fetch all of the newest version; `follow` and `unfollow` as for `hoard`, there. A device that is not
   * online is told of a standing order when it is. `PEER_UNREACHABLE`, `DATA_UNREACHABLE`, `DISK_FULL`.
   */
  push: Method<PushParams, PushResult>
  /**
   * Forgets all but the newest versions on this device, and gives the space back of everything that no version needs.
   * `DATA_CORRUPT` where maps are damaged.
   */
  prune: Method<PruneParams, PruneResult>
  stats: Method<{ name?: string }, StatsResult>
}

export interface HoardParams extends Named {
  /** Absent: the newest. */
  version?: number
  follow?: boolean
  unfollow?: boolean
}

/** Bytes are those of the version's chunks and device state, as in `bytes_total`. */
export interface HoardResult {
  parcel: string
  version: number
  /** Came now. */
  bytes_fetched: number
  /** Still not stored here. */
  bytes_missing: number
  /** New versions are fetched by themselves. */
  following: boolean
}

export interface PushParams extends Named {
  to: string
  follow?: boolean
  unfollow?: boolean
}

/** Likewise, of what the other device has. */
export interface PushResult {
  parcel: string
  version: number
  to: string
  bytes_sent: number
  bytes_missing: number
  following: boolean
  /** Was it online? If not, a standing order waits for it. */
  online: boolean
}

/** What is done without being asked again. */
export interface OrderRow {
  parcel: string
  /** `follow`: new versions are fetched to this device; `push`: that device was told to, or will be. */
  kind: 'follow' | 'push'
  /** Who gave it (`follow`; this very device where its own user did), or who gets the versions (`push`). */
  device: string
  since: string
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
  /** Always 0, for who reads `hoard` and this alike. */
  bytes_fetched: number
  /** Of all versions together, each chunk once, not stored here now. */
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
  /** Everything that blocks come from, sticks and caches too, since the daemon started, and over the last seconds. */
  sources: {
    name: string
    kind: string
    bytes_received: number
    bytes_sent: number
    received_per_second: number
    sent_per_second: number
  }[]
  /** Versions that are being fetched, of all parcels. */
  transfers: {
    parcel: string
    version: number
    /** `hoard`, `follow`, `granted`, `asked`, `resume`, `suspend` … */
    why: string
    bytes_done: number
    bytes_total: number
    per_second: number | null
    eta_ms: number | null
    sources: ByteShare[]
  }[]
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
    /** Asked of it because another was late, and of these what it sent first. */
    hedges: number
    hedges_won: number
    /** Measured of late: bytes per second, milliseconds. */
    rate_down: number | null
    base_rtt_ms: number | null
    /** How it is reached best. */
    path: 'lan' | 'wan'
    /** Over connections on a local network, and over Hyperswarm. */
    lan: Traffic
    wan: Traffic
  }[]
  /** Resume packs since the daemon started: made here, cancelled or failed meanwhile, and found wrong. */
  packs: { made: number; cancelled: number; failed: number; bad: number }
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
    /** Reads of the guest that waited for other devices, and the milliseconds during which any did. */
    faults: number
    stalled_ms: number
    /** Those for something that the resume pack has, and how long they waited. */
    faults_in_pack: number
    faults_in_pack_ms: number
    /** Of device state and of the resume pack up to an answer; null without a pack. */
    answer_bytes: number | null
  }[]
  /** On a cache; `parcels` and `versions` are then those that it holds, `bytes_packed` what they take. */
  caches?: CacheRow[]
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
  /** Versions in which something is still bad, also where they share it; and those that are not all here. */
  bad_versions: { parcel: string; version: number }[]
  missing_versions: { parcel: string; version: number }[]
  /** Some of those that were bad. */
  found: { log: string; block: number; why: string; repaired: boolean }[]
}

export const VERSION_METHODS: Readonly<Record<keyof VersionApi, MethodRules>> = {
  rename: { oncancel: 'ignore', onclose: 'continue' },
  remove: { oncancel: 'ignore', onclose: 'continue' },
  verify: { oncancel: 'undo', onclose: 'undo' },
  evict: { oncancel: 'undo', onclose: 'continue' },
  hoard: { oncancel: 'undo', onclose: 'undo' },
  push: { oncancel: 'undo', onclose: 'undo' },
  prune: { oncancel: 'undo', onclose: 'continue' },
  stats: { oncancel: 'undo', onclose: 'undo' },
  rollback: { oncancel: 'undo', onclose: 'continue' }
}

export interface Traffic {
  bytes_received: number
  bytes_sent: number
  blocks_received: number
  blocks_sent: number
}
