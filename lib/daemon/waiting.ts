/** Who is waited for when a guest waits for data, in words for the user. */
import type { FleetNode } from './node.ts'
import type { Runner } from './runners.ts'

/** Shorter waits are not worth a word. */
const NOTICE_MS = 1000

export interface Waiting {
  ms: number
  /** The device that wrote what is missing. */
  from: string
  online: boolean
}

/** Null when the parcel waits for nothing, or not for long. */
export function waitingFor(node: FleetNode, runner: Runner): Waiting | null {
  const waiting = runner.host.waiting()
  if (waiting === null || waiting.ms < NOTICE_MS) return null
  const owner = node.registry.logOwner(waiting.log)
  if (owner === null) return { ms: waiting.ms, from: 'an unknown device', online: false }
  const online = node.network.isConnected(owner.device)
  return { ms: waiting.ms, from: node.registry.nameOf(owner.device), online }
}

/** As the phase of a progress report. */
export function waitingPhase({ from, online }: Waiting): string {
  return online ? `waiting for data from ${from}` : `waiting for data: ${from} is not online`
}
