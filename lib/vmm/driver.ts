/**
 * The port to a virtual machine monitor. A driver gets NBD addresses and a memory file and knows neither
 * parcels nor peers. QEMU is the first one (`qemu/`).
 *
 * Life of one VM:
 *
 *   launch(spec) ─▶ paused ──cont()──▶ running ──stop()──▶ paused ──saveState()──▶ paused ──quit()──▶ gone
 *                     ▲                   │                  └──cont()──▶ running (checkpoint)
 *               restoreState() first      └── guest powers off, or the process dies ──▶ gone
 *               where there is a state
 */
import type { Readable } from 'node:stream'

/** What the VM is made of, recorded in a version and never guessed again: a resume needs the very same. JSON. */
export interface MachineConfig {
  /** Driver's name: `qemu`. */
  vmm: string
  /** VMM's version as it says it, for instance `7.2.22`. */
  vmmVersion: string
  /** Versioned machine type, for instance `pc-q35-7.2`. */
  machineType: string
  accelerator: 'kvm' | 'tcg'
  /** A named CPU model with its flags, never `host`. */
  cpuModel: string
  cpus: number
  memoryBytes: number
  /** A UUID: the guest learns from a new one that it was rolled back or cloned. */
  vmGenId: string
  macAddress: string
  disks: DiskConfig[]
  /**
   * Direct kernel boot; the files' content travels as read-only volumes, these are their names. `pending`: with this
   * state the firmware has not loaded the kernel into RAM yet.
   */
  kernel?: { kernelVolume: string; initrdVolume?: string; append: string; pending?: boolean }
  /** An installer image served as a read-only volume. */
  isoVolume?: string
}

export interface DiskConfig {
  /** Name of the volume, `disk0`. */
  volume: string
  bytes: number
}

export interface LaunchSpec {
  machine: MachineConfig
  /** A saved state follows: `restoreState` comes before the first `cont`. Otherwise the VM boots. */
  restore: boolean
  /** Unix sockets of NBD servers by volume name (default export), `memory` among them. */
  nbdSockets: Record<string, string>
  /** A private directory of this run for sockets and the FUSE mount, short enough for socket paths. */
  runDirectory: string
  /** Where the guest's serial console and screen will listen (Unix sockets, mode 0600). */
  serialSocket: string
  vncSocket: string
  /** Nothing of the guest's network leaves the VMM, for a rehearsal. */
  isolated?: boolean
  /** Read around a page fault of guest RAM, KiB, where this user may set it; the driver knows a good one. */
  readAheadKb?: number
  /** Called once, when the VM is gone, however that happened. */
  onExit(exit: VmExit): void
  /** The VM paused by itself: a disk error (`ENOSPC`) stopped it. */
  onPause?(reason: string): void
}

export interface VmExit {
  /** `guest`: it powered itself off. `quit`: we asked. `died`: the process ended by itself, like a power cut. */
  reason: 'guest' | 'quit' | 'died'
  /** Last lines that the VMM wrote to stderr. */
  message: string
}

export interface Vm {
  /** Of the VMM itself; another one after a guest with its own kernel rebooted. */
  readonly pid: number
  /** Whether the kernel reads as much around a page fault as it was told; an ordinary user may not tell it. */
  readonly readAheadSet: boolean
  /** Reads that much around a page fault of guest RAM from now on, where this user may set it; the default: null. */
  setReadAhead(kb: number | null): Promise<void>
  /** Presses a key that changes little on the guest's keyboard: the return key. */
  pressKey(): Promise<void>
  /** Loads device state before the first `cont`. Consumes the stream. RAM is not in it. */
  restoreState(state: Readable): Promise<void>
  cont(): Promise<void>
  /**
   * Returns when no CPU runs and no disk request is in flight. Rejects with `VMM_STOP_TIMEOUT` when a fault hangs:
   * the VM then runs on as soon as the fault is answered.
   */
  stop(timeoutMs: number): Promise<void>
  /** Writes guest RAM that the host still holds through to the NBD export; an error means that no version may be made. */
  syncMemory(): Promise<void>
  /** Of a stopped VM: has its firmware not loaded the directly booted kernel yet? For `MachineConfig.kernel`. */
  kernelPending(): Promise<boolean>
  /** Device state of a stopped VM, without RAM. The stream ends with an error when the state is not whole. */
  saveState(): Promise<Readable>
  /** Corrects the guest's wall clock after a resume; returns how, or why not: `guest-agent`, `rtc`, `none: …`. */
  setClock(): Promise<string>
  /** Presses the power button. The guest decides; `onExit` tells. */
  powerButton(): Promise<void>
  /**
   * Ends the VM at once: the FUSE bridge first, so that no fault keeps the VMM alive and no dirty page is written back
   * for nothing. `syncMemory` comes before, where the memory is wanted. Idempotent.
   */
  quit(): Promise<void>
}

export interface MachineRequest {
  cpus: number
  memoryBytes: number
  disks: DiskConfig[]
  kernel?: MachineConfig['kernel']
  isoVolume?: string
}

export interface VmmDriver {
  readonly name: string
  /** Fills in everything that has to be pinned, with what this host has. */
  plan(request: MachineRequest): Promise<MachineConfig>
  /** Null when this host can resume a state of that machine, else why not, for `VMM_MISMATCH`. */
  mismatch(machine: MachineConfig): Promise<string | null>
  /** Starts the VMM with the CPUs stopped. Rejects with `VMM_FAILED`, `VMM_MISSING`, `FUSE_UNAVAILABLE` … */
  launch(spec: LaunchSpec): Promise<Vm>
}
