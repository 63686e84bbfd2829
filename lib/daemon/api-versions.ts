/** The part of the daemon's API that is about parcels and versions as a whole; `api.ts` has the rules. */
import type { Method, MethodRules, Named } from './api.ts'

export interface VersionApi {
  /** `PARCEL_EXISTS`, `NAME_INVALID`. */
  rename: Method<Named & { to: string }, { parcel: string }>
  /** Takes the lease; the parcel is gone on every device, its blocks stay until they are pruned. `PARCEL_RUNNING`, `LEASE_HELD`. */
  remove: Method<Named, { parcel: string }>
  /** A new version with the content of that one. `PARCEL_RUNNING`, `LEASE_HELD`, `CRASH_CHOICE`, `DATA_UNREACHABLE`. */
  rollback: Method<Named & { version: number }, { parcel: string; version: number }>
  /** Reads and opens everything that is stored of a parcel's versions, of all parcels without a name. */
  verify: Method<VerifyParams, VerifyResult>
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
  rollback: { oncancel: 'undo', onclose: 'continue' }
}
