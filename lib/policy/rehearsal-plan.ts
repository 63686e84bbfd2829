/** Whether a device rehearses the resume of a version now: a pure decision. */

export interface RehearsalFacts {
  /** The user did not switch it off. */
  wanted: boolean
  /** The version has device state: it can be resumed without a boot. */
  resumable: boolean
  /** All of it is stored here. */
  whole: boolean
  /** This device rehearsed it already. */
  rehearsed: boolean
  /** Parcels in use here, and commands that delete or rewrite data. */
  busy: boolean
  /** Bytes: RAM of the guest, of this host to spare, of the disk to spare. */
  guestBytes: number
  memoryFreeBytes: number
  diskFreeBytes: number
}

export type RehearsalDecision = 'now' | 'later' | 'never'

/** Left alone of the host's memory. */
const SPARE_MEMORY_BYTES = 256 * 1024 ** 2
/** The rehearsed guest may write; all of its RAM at most, in the worst case. */
const SPARE_DISK_BYTES = 512 * 1024 ** 2

export function planRehearsal(facts: RehearsalFacts): RehearsalDecision {
  if (!facts.wanted || !facts.resumable || facts.rehearsed) return 'never'
  if (!facts.whole || facts.busy) return 'later'
  const memory = facts.memoryFreeBytes >= facts.guestBytes + SPARE_MEMORY_BYTES
  const disk = facts.diskFreeBytes >= facts.guestBytes + SPARE_DISK_BYTES
  return memory && disk ? 'now' : 'later'
}
