/** The part of the daemon's API that is about what lies nearby; `api.ts` has the rules. */
import type { Method, MethodRules, Named } from './api.ts'

export interface LookasideApi {
  /** Uses a stick, an image, or a directory of files from now on. `PATH_UNUSABLE`. */
  'lookaside.add': Method<{ path: string }, LookasideRow>
  /** A copy of the parcel's newest version on a medium. `PATH_UNUSABLE`, `STICK_BUSY`, `DISK_FULL`, `DATA_UNREACHABLE`. */
  'lookaside.fill': Method<Named & { path: string }, LookasideFilled>
  'lookaside.ls': Method<Record<string, never>, LookasideList>
  /** Does not use it any more; nothing on it changes. `PATH_UNUSABLE`. */
  'lookaside.remove': Method<{ path: string }, LookasideRow>
}

export type LookasideState = 'ready' | 'absent' | 'damaged'

export interface LookasideRow {
  path: string
  /** Null where it is not there. */
  kind: 'stick' | 'image' | 'directory' | null
  state: LookasideState
  /** Plugged in, not named by the user. */
  auto: boolean
  /** On a stick: what it holds all of. */
  parcels: { parcel: string; version: number }[]
  /** Stick: that it holds of this fleet's; image: the size of the file; directory: 0. */
  bytes: number
  /** Blocks of a stick, or segments out of an image or a directory, that were used since the daemon started; bytes of them. */
  hits: number
  bytes_used: number
  note: string | null
}

export interface LookasideList {
  lookaside: LookasideRow[]
  /** Of all. */
  bytes: number
  hits: number
}

export interface LookasideFilled {
  parcel: string
  version: number
  path: string
  /** On the stick, and those that had to be written. */
  bytes: number
  bytes_written: number
  hits: number
}

export const LOOKASIDE_METHODS: Readonly<Record<keyof LookasideApi, MethodRules>> = {
  'lookaside.add': { oncancel: 'undo', onclose: 'continue' },
  'lookaside.fill': { oncancel: 'undo', onclose: 'undo' },
  'lookaside.ls': { oncancel: 'undo', onclose: 'undo' },
  'lookaside.remove': { oncancel: 'ignore', onclose: 'continue' }
}
