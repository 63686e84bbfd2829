/** How a device of the fleet is shown. */
import type { Role } from './api.ts'

export interface DeviceRow {
  name: string
  role: Role
  online: boolean
  /** Null where it is not online, or is this device. */
  rtt_ms: number | null
  /** How it is reached best: directly on a local network, or over Hyperswarm; null where it is not. */
  path: 'lan' | 'wan' | null
  /** All connections to it. */
  links: { kind: 'lan' | 'wan'; rtt_ms: number | null }[]
  /** Null where it was never seen. */
  last_seen: string | null
  /** This very device. */
  self: boolean
  /** Blocks from and to it since the daemon started, and over the last seconds. */
  block_bytes_received: number
  block_bytes_sent: number
  received_per_second: number
  sent_per_second: number
  /** Of a cache that says so now. */
  quota_bytes?: number
  bytes_held?: number
  /** Not all of the newest versions fit into its quota. */
  full?: boolean
}
