/** What `ls`, `show` and `log` tell; `api.ts` has the rules. */
import type { OrderRow } from './api-versions.ts'

/** `running` and `serving` are here; `elsewhere`: another device holds the lease; `crashed`: ended without a version. */
export type ParcelState = 'suspended' | 'running' | 'paused' | 'serving' | 'crashed' | 'elsewhere'

export interface ParcelRow {
  name: string
  state: ParcelState
  /** Newest version known here. */
  version: number
  time: string
  /** Device that holds the lease; null where it is free. */
  holder: string | null
  /** With state `elsewhere`: what the holder says; null where it is not online. */
  elsewhere: 'running' | 'suspended' | null
  /** Has the newest version a memory image? Without one it boots. */
  memory: boolean
  /** Of the newest version: all of it, and what is stored here. */
  bytes_total: number
  bytes_local: number
  /** How long the guest has been waiting for data from peers; 0 when it does not. */
  waiting_ms: number
  /** Why it is paused, or whom it waits for. */
  note: string | null
}

export interface ParcelDetail extends ParcelRow {
  id: string
  epoch: number
  versions: number
  /** Level of zstd for what is added to it. */
  compression: number
  /** Versions in which the last check that read them found something bad, and when: see `verify`. */
  bad_versions: { version: number; time: string }[]
  volumes: { name: string; bytes: number }[]
  machine: {
    vmm: string
    vmm_version: string
    machine_type: string
    accel: string
    cpu_model: string
    cpus: number
    memory_bytes: number
  }
  /** Sockets, while it runs here. */
  serial: string | null
  vnc: string | null
  /** As `clock` of `resume`, while it runs here. */
  clock: string | null
  /** Of the newest version: bytes that working without a network lacks here. */
  bytes_missing: number
  /** All of it is stored here, with its maps. */
  complete: boolean
  /** Device that made it; null where there is none. */
  author: string | null
  /** Devices that said that they have all of it, and when they last did. */
  replicas: ReplicaRow[]
  orders: OrderRow[]
}

export interface ReplicaRow {
  device: string
  online: boolean
  confirmed: string
}

export interface VersionRow {
  version: number
  parent: number | null
  epoch: number
  /** Author. */
  device: string
  time: string
  message: string
  bytes_new: number
  /** Of its chunks and device state; other versions may keep many chunks of one that was pruned. */
  bytes_local: number
  bytes_total: number
  /** All of it is stored here. */
  complete: boolean
  /** Peers that hold all of it. */
  replicas: number
  /** With a memory image, or a boot. */
  memory: boolean
  /** What made it: `create`, `suspend`, `checkpoint`, `rollback` …; null where its record is not stored here. */
  cause: string | null
}
