/**
 * What daemon and runner say to each other over the runner's socket (`ipc/channel.ts`; both sides ask).
 * Keys cross this socket (mode 0600, one user) and nothing else: never arguments, environment or files.
 * Binary fields are hex; the JSON of one message stays far under the frame limit.
 */
import type { ErrorShape } from '../base/errors.ts'
import type { MachineConfig } from '../vmm/driver.ts'

/** Keys of one log, hex. */
export interface LogKeysJson {
  log: string
  id: string
  data: string
  meta: string
}

/** A path that the user named, and the file that indexes it. */
export interface SeedJson {
  path: string
  index: string
}

/**
 * What every session starts from. Attachment: the encoded version record, empty for a new parcel; behind its
 * `recordBytes` the reissued map that it is read through, if it is; the last `pack.headBytes` are the head of a pack.
 */
export interface OpenParams {
  parcel: string
  /** Id of the version it starts from; null for a new parcel. */
  version: string | null
  recordBytes: number
  /** By log number of that version. */
  keys: LogKeysJson[]
  /** The resume pack to read from first. */
  pack: { keys: LogKeysJson; block: number; headBytes: number } | null
  dedupKey: string
  /** Images and directories nearby. */
  seeds: SeedJson[]
  /** Seals the keys of overlays, so that only this device opens them again. */
  overlayKey: string
  storeDirectory: string
  /** Overlays live here. */
  stateDirectory: string
  /** Sockets and mounts. */
  runDirectory: string
  /** What the VMM driver may remember between runs (probe results). */
  cacheDirectory: string
}

export interface StartParams {
  machine: MachineConfig
  /** Restore the version's device state; false boots. */
  restore: boolean
  /** Boot with a machine of this host when it cannot resume this one; else that is `VMM_MISMATCH`. */
  replan: boolean
  /** Keep the disk overlays of a crashed run instead of starting from the version. */
  keepOverlays: boolean
}

export interface StartResult {
  vnc: string
  serial: string
  volumes: Record<string, string>
  /** Device state was not restored: a cold boot. */
  booted: boolean
  /** How the guest's clock was set; `pending` while it is being set, then an event tells. */
  clock: string
  /** Milliseconds since the start request, by step, for the trace of a resume. */
  trace: Record<string, number>
}

export interface CommitParams {
  number: number
  parent: string | null
  lease: string | null
  author: string
  time: number
  message: string
  cause: string
}

export interface SnapshotParams extends CommitParams {
  /** End the VM after the commit; else it runs on. */
  quit: boolean
}

/** A new version, durable. */
export interface CommitSummary {
  version: string
  number: number
  bytesNew: number
  bytesStored: number
  /** CPUs stopped until durable, or until they ran again. */
  pauseMs: number
  /** Milliseconds since the request, by step; empty where nothing is measured. */
  trace: Record<string, number>
}

export interface ImportVolume {
  name: string
  /** Absolute path of an image; null for a blank volume. */
  file: string | null
  format: 'raw' | 'qcow2'
  sizeBytes: number
  readOnly: boolean
}

export interface ImportParams extends CommitParams {
  volumes: ImportVolume[]
  /** `MachineConfig` without what the driver fills in. */
  machine: MachineRequestJson | null
}

export interface MachineRequestJson {
  cpus: number
  memoryBytes: number
  disks: { volume: string; bytes: number }[]
  kernel?: MachineConfig['kernel']
  isoVolume?: string
}

export interface ImportSummary extends CommitSummary {
  bytesRead: number
}

export interface ServeParams {
  writable: boolean
}

export interface ExportParams {
  volume: string
  file: string
  format: 'raw' | 'qcow2'
}

/** What a run that ended without a version left on this disk. */
export interface Leftovers {
  /** Disks have changes that no version has. */
  dirty: boolean
  /** Version that the changes lie on, hex; null where nothing is left. */
  base: string | null
  /** Bytes of changes that this disk damaged: reading them fails until they are written again. */
  damaged: { volume: string; bytes: number }[]
  /** Changes of a volume that cannot be used at all. */
  unreadable: { volume: string; error: ErrorShape } | null
}

export type RunnerState = 'idle' | 'starting' | 'running' | 'paused' | 'serving' | 'gone'

export interface RunnerStatus {
  pid: number
  state: RunnerState
  parcel: string | null
  version: string | null
  /** Why it is paused or gone. */
  reason: string | null
  /** The guest ended by itself and its disk was not committed yet. */
  exit: 'guest' | 'quit' | 'died' | null
  /** Milliseconds that the oldest read has been waiting for data; 0 when none waits. */
  waitingMs: number
  /** Overlay bytes not in any version; chunks that became zero are not counted. */
  dirtyBytes: number
  /** Bytes of them that are stored already, ahead of the next version, and of some that changed again since. */
  aheadBytes: number
  /** What is served may be written. */
  writable: boolean
  start: StartResult | null
  memoryBytes: number
  /**
   * What no resume could do without: bytes of device state and of the pack's segments up to an answer, as far as they
   * have come. Null without a pack.
   */
  answerBytes: number | null
}

/** Daemon asks, runner answers. */
export interface RunnerApi {
  status: { params: null; result: RunnerStatus }
  /** Looks at an image before anything is made of it. `IMAGE_UNREADABLE`, `IMAGE_INVALID`. */
  inspect: {
    params: { file: string; asDisk: boolean }
    result: { format: 'raw' | 'qcow2'; sizeBytes: number }
  }
  /** Before `open`: looks at the overlays of an earlier run; removes those that hold nothing new. */
  leftovers: { params: { stateDirectory: string; overlayKey: string }; result: Leftovers }
  open: { params: OpenParams; result: null }
  import: { params: ImportParams; result: ImportSummary }
  start: { params: StartParams; result: StartResult }
  /** A start that still waits for data rejects with that error; too late once the CPUs run. */
  cancelStart: { params: ErrorShape; result: null }
  snapshot: { params: SnapshotParams; result: CommitSummary }
  /** The user changed their mind: a snapshot that is not published yet rejects with `INTERRUPTED`, and the VM runs on. */
  cancelSnapshot: { params: null; result: null }
  /** Commits the disks of a VM that is gone, or of writable exports; `version` null when nothing changed. */
  commitDisks: { params: CommitParams; result: CommitSummary | null }
  serve: { params: ServeParams; result: { volumes: Record<string, string> } }
  export: { params: ExportParams; result: { bytes: number } }
  /** Instead of `open`: checks everything that is stored of these versions. */
  verify: { params: VerifyParams; result: VerifySummary }
  /**
   * Instead of `open`: copies needed chunks of segments into full ones and issues maps anew. Attachment: three words a
   * segment, which of the logs, block, mask of slots.
   */
  repack: { params: RepackParams; result: RepackSummary }
  /** What was touched since the start, in order. Attachment: names of chunks (`policy/pack-order.ts`), 8 bytes each. */
  trace: { params: null; result: null }
  /** Instead of `open`, with its attachment: resumes the version for a moment, throws that away, and writes a pack. */
  rehearse: { params: RehearseParams; result: PackSummary }
  /** Likewise, of what a resume touched: behind the attachment of `open` names of chunks as in `trace`. */
  pack: { params: PackParams; result: PackSummary }
  /** Others lie nearby now. */
  seeds: { params: { seeds: SeedJson[] }; result: null }
  powerButton: { params: null; result: null }
  /** Files of the store were replaced: read from the new ones. */
  refresh: { params: null; result: null }
  /** Ends the VM without a version, keeps or drops the overlays, and ends the process. */
  quit: { params: { dropOverlays: boolean }; result: null }
}

/** Runner asks, daemon answers. */
export interface HostApi {
  /** Sealed blocks of a log, fetched when missing; waits without limit. Attachment: the blocks, one after the other. */
  blocks: {
    params: { log: string; blocks: number[]; /** Nobody waits for them yet. */ ahead: boolean }
    result: { lengths: number[] }
  }
  /** Stores blocks that nobody waits for yet, behind those that somebody does; `missing` had to come from peers. */
  'blocks.fetch': { params: { log: string; blocks: number[] }; result: { missing: number } }
  /**
   * Sealed blocks of a log as they are stored here. Attachment: those that could be read, one after the other; a
   * length of −1 says that a block is not stored here, −2 that the disk does not give it back.
   */
  'blocks.stored': { params: { log: string; blocks: number[] }; result: { lengths: number[] } }
  /**
   * Chunk ids of segments that are not stored here, from connected devices and caches, within seconds; attachment: ids of
   * so many chunks of each, 0 where nobody told.
   */
  'segments.ids': { params: { log: string; blocks: number[] }; result: { chunks: number[] } }
  /** Segments that were found in seeds: how many, and bytes of chunks. */
  'seeds.used': { params: { path: string; segments: number; bytes: number }[]; result: null }
  /** Does that version exist? */
  versionExists: { params: { version: string }; result: boolean }
  logKeys: { params: { logs: string[] }; result: { keys: LogKeysJson[] } }
  /** Ends a commit that began before. `commit` names this one in the calls that follow. */
  'commit.begin': {
    params: null
    result: {
      commit: number
      firstBlock: number
      keyEpoch: number
      keys: LogKeysJson
      compressionLevel: number
    }
  }
  /** Attachment: ids; answer: 3 words an id as in `Places`, and the keys of logs by handle. */
  'commit.lookup': { params: null; result: { logs: Record<number, string> } }
  /** Attachment: pairs of words, which of the logs and block; of the answer: 512 bytes for each segment. */
  'commit.ids': { params: { logs: string[] }; result: null }
  /**
   * Attachment: blocks, then ids. `chunks` counts those of each block, 0 for one that is no segment. `COMMIT_STALE`
   * when the log does not end at `first`.
   */
  'commit.append': {
    params: { commit: number; first: number; lengths: number[]; chunks: number[] }
    result: null
  }
  'commit.logInfo': {
    params: { logs: string[] }
    result: { logs: { length: number; treeHash: string }[] }
  }
  /** Makes the version exist: record appended, flushed, announced. Attachment: the sealed record. */
  'commit.publish': {
    params: PublishParams & { commit: number; block: number }
    result: null
  }
  /** Ends a commit that makes no version: these reissued maps are in the log, by block. Durable and announced on return. */
  'commit.reissue': {
    params: { commit: number; maps: { version: string; block: number }[] }
    result: null
  }
  /** The pack that it was opened with is not what it says. */
  badPack: { params: { log: string; block: number; error: ErrorShape }; result: null }
  /** State changed: VM gone, paused, running again, waiting for data. */
  event: { params: RunnerStatus; result: null }
}

export interface RehearseParams {
  open: OpenParams
  machine: MachineConfig
}

export interface PackParams {
  open: OpenParams
  /** Bytes of names at the end of the attachment. */
  traceBytes: number
}

/** A resume pack, durable and announced. */
export interface PackSummary {
  block: number
  segments: number
  chunks: number
  /** Of them up to the answer to a key press. */
  answered: number
  bytesStored: number
}

export interface VerifyParams {
  storeDirectory: string
  dedupKey: string
  /** Where their records are. */
  versions: (PlaceJson & { name: string })[]
}

/** Where a version's record is, and the reissued map that it is read through. */
export interface PlaceJson {
  version: string
  log: string
  block: number
  annex: { log: string; block: number } | null
}

export interface RepackParams {
  storeDirectory: string
  dedupKey: string
  /** Of all logs that the versions name. */
  keys: LogKeysJson[]
  /** Those that the attachment counts. */
  logs: string[]
  /** All that may name one of the segments. */
  versions: PlaceJson[]
}

export interface RepackSummary {
  /** Segments whose needed chunks were copied, maps that were issued anew, bytes that were written. */
  segments: number
  maps: number
  bytesStored: number
}

export interface VerifySummary {
  /** Blocks that were read and opened, and their bytes. */
  checked: number
  bytes: number
  /** Blocks that are not stored here. */
  missing: number
  bad: { log: string; block: number; why: string }[]
  /** What was found in each of the places, as flags: 1 something bad, 2 something that is not stored here. */
  versions: number[]
}

export interface PublishParams {
  version: string
  number: number
  parent: string | null
  lease: string | null
  time: number
  message: string
  cause: string
  bytesNew: number
  bytesStored: number
  hasMemory: boolean
}
