/** Who is waited for when a guest waits for data, in words for the user. */
import type { VersionInfo } from '../../fleet/index.ts'
import { STALL_MS } from '../versions/complete-version.ts'
import type { FleetNode } from '../node.ts'
import { outOfReach } from '../versions/out-of-reach.ts'
import type { Runner } from './runners.ts'
import type { UseCaseContext } from '../use-cases/context.ts'

/** Shorter waits are not worth a word. */
const NOTICE_MS = 1000
const REPORT_MS = 500

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

/**
 * Runs `work` of a runner that reads a version, and says so when it waits for data, and from whom. The signal aborts
 * when the user gives up, and with `DATA_UNREACHABLE` when none came for long. Not for a guest that runs: it waits.
 */
export async function whileReading<T>(
  node: FleetNode,
  runner: Runner,
  info: VersionInfo,
  context: UseCaseContext,
  work: (signal: AbortSignal) => Promise<T>
): Promise<T> {
  const stall = new AbortController()
  let fetched = 0
  let aliveAt = performance.now()
  const timer = setInterval(() => {
    const waiting = waitingFor(node, runner)
    if (waiting === null || runner.host.fetchedBytes > fetched) aliveAt = performance.now()
    fetched = runner.host.fetchedBytes
    if (performance.now() - aliveAt > STALL_MS) {
      node.versions.forget() // the next time, others may have it by another map
      stall.abort(outOfReach(node, info))
    }
    if (waiting === null) return
    context.progress({ phase: waitingPhase(waiting), peers: [waiting.from] })
  }, REPORT_MS)
  try {
    return await work(AbortSignal.any([stall.signal, context.signal]))
  } finally {
    clearInterval(timer)
  }
}
