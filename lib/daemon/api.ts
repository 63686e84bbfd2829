/**
 * What the daemon does for its clients (CLI, tests), over `ipc/channel.ts`: `call(method, params)`.
 *
 * Results are the JSON of the command-line contract: snake_case, units last; times are ISO 8601 in UTC; sizes
 * are bytes. Parameters are ours: camelCase, absolute paths (the daemon has another working directory).
 * Names of parcels and devices are the users'. Errors are `HyperparcelError`; the codes that matter to a caller
 * are listed with each method.
 *
 * While a method runs it may send events of type `Progress` (`ApiEvent` where it says so).
 */
import type { DeviceRow } from './api-devices.ts'
import type { Check } from '../base/check.ts'
import type { ByteShare, Progress } from '../base/progress.ts'
import { LOOKASIDE_METHODS, type LookasideApi } from './api-lookaside.ts'
import { VERSION_METHODS, type LowSpace, type VersionApi } from './api-versions.ts'
import type { ParcelDetail, ParcelRow, VersionRow } from './api-parcels.ts'
import type { StatusResult } from './api-status.ts'
import type { HeldRow } from './api-cache.ts'

export type * from './api-parcels.ts'

export interface Method<P, R> {
  params: P
  result: R
}

type None = Record<string, never>

/** Any event of a method. `invite` sends the invite as soon as it exists, before anybody used it. */
export interface ApiEvent extends Progress {
  invite?: string
}

export interface Api extends VersionApi, LookasideApi {
  /** A new device and a new fleet. `FLEET_EXISTS`. */
  init: Method<InitParams, { device: string; fleet: string; recovery_phrase: string }>
  /** Sends the invite as an event, then (with `wait`) returns when it was used. `INVITE_EXPIRED`. */
  invite: Method<InviteParams, { invite: string; paired: string | null }>
  /** `FLEET_EXISTS`, `INVITE_INVALID`, `INVITE_USED`, `INVITE_EXPIRED`, `PEER_UNREACHABLE`. */
  join: Method<JoinParams, { device: string; fleet: string; role: Role }>
  devices: Method<None, { devices: DeviceRow[] }>

  'daemon.status': Method<None, DaemonStatus>
  /** Answers, then ends the process. VMs go on in their runners. */
  'daemon.stop': Method<None, { pid: number }>

  /** Version 1, without memory. `PARCEL_EXISTS`, `IMAGE_UNREADABLE`, `IMAGE_INVALID`, `DISK_FULL`. */
  create: Method<
    CreateParams,
    {
      parcel: string
      version: number
      bytes_read: number
      bytes_stored: number
      low_space?: LowSpace
    }
  >
  /** `held`: on a cache, which knows no parcels. */
  ls: Method<None, { parcels: ParcelRow[]; held?: HeldRow[] }>
  show: Method<Named, { parcel: ParcelDetail }>
  log: Method<Named, { parcel: string; versions: VersionRow[] }>

  /** Takes the lease, starts the VM, returns when its CPUs run. `LEASE_HELD`, `DATA_UNREACHABLE`, `VMM_MISMATCH`, `CRASH_CHOICE`, `PARCEL_RUNNING`. */
  resume: Method<ResumeParams, ResumeResult>
  /** Where the serial console of a running parcel listens. `PARCEL_NOT_RUNNING`. */
  console: Method<Named, { parcel: string; serial: string; vnc: string }>
  /** Returns when the version is durable here (and at `waitReplicas` peers). `PARCEL_NOT_RUNNING`, `DATA_UNREACHABLE`. */
  suspend: Method<SuspendParams, SuspendResult>
  checkpoint: Method<
    Named & { message?: string },
    Omit<SuspendResult, 'lease_delivered' | 'already_suspended'>
  >
  /** Power button, then a version without memory. */
  poweroff: Method<Named, { parcel: string; version: number }>
  /** Drops everything since the last version; `version` is that one. */
  discard: Method<Named, { parcel: string; version: number }>

  /** NBD exports without a VM. They stay until `serve.stop`, or until the client's channel closes (which stops it likewise, commit included). */
  serve: Method<ServeParams, ServeResult>
  /** Commits what was written where it was writable; `version` is the new one, or the one that was served. */
  'serve.stop': Method<{ session: string }, { parcel: string; version: number }>
  /** Of a version, also while the parcel is used (`running`: its VM runs and has newer data). */
  export: Method<
    ExportParams,
    { parcel: string; version: number; running: boolean; file: string; bytes: number }
  >

  lease: Method<Named, LeaseResult>
  status: Method<None, StatusResult>
  /** All settings, one (`key`), or a new value for one (`value`). `CONFIG_UNKNOWN`, `USAGE`. */
  config: Method<ConfigParams, { config: Record<string, unknown> }>
}

export type MethodName = keyof Api
export type Params<M extends MethodName> = Api[M]['params']
export type Result<M extends MethodName> = Api[M]['result']

/** What happens to a method that is under way. */
export interface MethodRules {
  /**
   * On a cancel (Ctrl-C): `undo` ends it and leaves everything as it was before; `ignore` lets it end, the
   * client only stops waiting.
   */
  oncancel: 'undo' | 'ignore'
  /** When the client is gone (its terminal was closed, it was killed): `undo`, or `continue` as if nothing had happened. */
  onclose: 'undo' | 'continue'
  /** Works on a home that belongs to no fleet yet; the others answer `NO_FLEET` there, and most `IS_CACHE` on a cache. */
  withoutFleet?: true
}

const ASK: MethodRules = { oncancel: 'undo', onclose: 'undo' }
const WORK: MethodRules = { oncancel: 'undo', onclose: 'continue' }
const FINISH: MethodRules = { oncancel: 'ignore', onclose: 'continue' }

export const METHODS: Readonly<Record<MethodName, MethodRules>> = {
  init: { ...FINISH, withoutFleet: true },
  invite: ASK,
  join: { ...ASK, withoutFleet: true },
  devices: ASK,
  'daemon.status': { ...ASK, withoutFleet: true },
  'daemon.stop': { ...FINISH, withoutFleet: true },
  create: ASK,
  ls: ASK,
  show: ASK,
  log: ASK,
  resume: WORK,
  console: ASK,
  suspend: WORK,
  checkpoint: WORK,
  poweroff: FINISH,
  discard: FINISH,
  serve: ASK,
  'serve.stop': FINISH,
  export: ASK,
  lease: ASK,
  status: ASK,
  config: { ...FINISH, withoutFleet: true },
  ...VERSION_METHODS,
  ...LOOKASIDE_METHODS
}

/**
 * The signal that a handler should obey, from the one that its request has: aborts only for what the rules of
 * the method call `undo`. A cancel has code `INTERRUPTED`, a lost client `CHANNEL_CLOSED`.
 */
export function obeyedSignal(method: MethodName, signal: AbortSignal): AbortSignal {
  const rules = METHODS[method]
  if (rules.oncancel === 'undo' && rules.onclose === 'undo') return signal
  const controller = new AbortController()
  const onabort = () => {
    const gone = (signal.reason as { code?: string }).code === 'CHANNEL_CLOSED'
    if ((gone ? rules.onclose : rules.oncancel) === 'undo') controller.abort(signal.reason)
  }
  if (signal.aborted) onabort()
  else signal.addEventListener('abort', onabort, { once: true })
  return controller.signal
}

export type { DeviceRow } from './api-devices.ts'

export type Role = 'device' | 'cache'

export interface Named {
  /** The parcel's name. */
  name: string
}

/** Options of the network; stored in the home and used by every later daemon. Absent: as stored. */
export interface NetworkParams {
  /** `host:port` of the DHT's bootstrap nodes; empty for the public DHT. */
  bootstrap?: string[]
  /** Look for peers on the local network. */
  lan?: boolean
}

export interface InitParams extends NetworkParams {
  /** The device's name; the host's name by default. */
  device?: string
}

export interface InviteParams {
  role: Role
  expiresMs: number
  wait: boolean
}

export interface JoinParams extends NetworkParams {
  invite: string
  device?: string
  /** For a cache: how much it stores at most. */
  quotaBytes?: number
}

export interface DaemonStatus {
  pid: number
  /** Of Hyperparcel. */
  program_version: string
  home: string
  device: string | null
  fleet: string | null
  /** Connected now. */
  peers: number
  /** `host:port` as the DHT sees it; null without a network. */
  address: string | null
  /** With other devices since it started: everything on the wire. */
  bytes_received: number
  bytes_sent: number
  /** Verified blocks of logs that came. */
  block_bytes_received: number
  /** Those of them that a guest, or a command, was waiting for. */
  demand_bytes_received: number
  started: string
}

export interface CreateParams extends Named {
  /** Volumes `disk0`, `disk1` … in this order, absolute paths of raw or qcow2 images. */
  disks: string[]
  /** A blank disk of that size, after the images. */
  sizeBytes?: number
  iso?: string
  from?: { parcel: string; version?: number }
  /** Level of zstd for what is added to it; absent: as in `from`, else the usual one. */
  compression?: number
  /** Absent: as in `from`, else 512 MiB and 1. */
  memoryBytes?: number
  cpus?: number
  kernel?: { kernel: string; initrd?: string; append: string }
  vmm: string
}

export type FetchMode = 'demand' | 'working-set' | 'all'

export interface ResumeParams extends Named {
  version?: number
  fetch?: FetchMode
  offline?: boolean
  /** Approves a boot where the memory image cannot be used. */
  reboot?: boolean
  /** Asks the device that runs it to suspend it first. */
  handoff?: boolean
  fromCrash?: 'version' | 'disk'
}

export interface ResumeResult {
  parcel: string
  version: number
  epoch: number
  /** Cold boot. */
  booted: boolean
  resume_ms: number
  bytes_fetched: number
  /** Of chunks that were found in images and directories nearby. */
  bytes_nearby: number
  /** What came from whom meanwhile, for other transfers too. */
  sources: ByteShare[]
  vnc: string
  serial: string
  volumes: Record<string, string>
  /** How the guest's clock was set, or why not; `pending`: it is being set, `show` tells. */
  clock: string
  /** After a crash: what this disk lost of the guest's; reading it is an error until it is written again. */
  damaged_bytes: number
  /** The resume pack that it reads from first; null without one. `answer_chunks` of its chunks are for an answer. */
  pack: { segments: number; chunks: number; answer_chunks: number; local: boolean } | null
  /** Milliseconds since the command came, by step. */
  trace: Record<string, number>
}

export interface SuspendParams extends Named {
  /** Grants the lease to that device. */
  to?: string
  message?: string
  waitReplicas?: number
}

export interface SuspendResult {
  parcel: string
  version: number
  suspend_ms: number
  pause_ms: number
  bytes_new: number
  bytes_stored: number
  replicas: number
  /** Whether a grant reached its device; null without `to`. */
  lease_delivered: boolean | null
  /** It was suspended here before, and only the lease was given: nothing is new. */
  already_suspended?: true
  /** Milliseconds since the command came, by step. */
  trace: Record<string, number>
  low_space?: LowSpace
}

export interface ServeParams extends Named {
  version?: number
  writable: boolean
}

export interface ServeResult {
  parcel: string
  version: number
  session: string
  /** NBD URIs by volume. */
  volumes: Record<string, string>
}

export interface ExportParams extends Named {
  /** Absolute; an existing file is replaced only when the image is complete. */
  file: string
  volume: string
  version?: number
  format: 'raw' | 'qcow2'
}

export interface LeaseResult {
  parcel: string
  /** Null where it is free. */
  holder: string | null
  epoch: number
  /** `granted`: given to `holder`, which has not used it yet. */
  state: 'free' | 'held' | 'granted'
}

export interface ConfigParams {
  key?: string
  value?: string
}

/** `doctor` needs no daemon, see `doctor.ts`. */
export interface DoctorResult {
  able: boolean
  checks: Check[]
}
