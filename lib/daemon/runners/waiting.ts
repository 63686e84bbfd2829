/** Who is waited for when a guest waits for data, in words for the user. */
import safetyCatch from 'safety-catch'
import type { ProgressReporter } from '../../base/progress.ts'
import type { VersionInfo } from '../../fleet/index.ts'
import { DOUBT_MS, STALL_MS } from '../versions/complete-version.ts'
import type { FleetNode } from '../node.ts'
import { isHopeless, outOfReach } from '../versions/out-of-reach.ts'
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
  if (owner.device.equals(node.identity.device.publicKey)) {
    // Written here, and dropped here.
    const others = node.network.peers().map(({ publicKey }) => node.registry.nameOf(publicKey))
    const from = others.length === 0 ? 'any other device' : others.join(' or ')
    return { ms: waiting.ms, from, online: others.length > 0 }
  }
  const online = node.network.isConnected(owner.device)
  return { ms: waiting.ms, from: node.registry.nameOf(owner.device), online }
}

/** As the phase of a progress report. */
export function waitingPhase({ from, online }: Waiting): string {
  return online ? `waiting for data from ${from}` : `waiting for data: ${from} is not online`
}

/**
 * Runs `work` of a runner that reads a version, and says so when it waits for data, and from whom; what `work` itself
 * reports is told on while it does not. The signal aborts when the user gives up, and with `DATA_UNREACHABLE` when none
 * came for long, or nobody has it. Not for a guest that runs: it waits.
 */
export async function whileReading<T>(
  node: FleetNode,
  runner: Runner,
  info: VersionInfo,
  context: UseCaseContext,
  work: (signal: AbortSignal, report: ProgressReporter) => Promise<T>
): Promise<T> {
  const parcel = node.registry.parcel(info.parcel)?.name ?? ''
  const transfer = node.transfers.watch({ parcel, version: info.number, why: 'command' })
  let waits = false
  let asking = false
  const stall = new AbortController()
  let fetched = 0
  let aliveAt = performance.now()
  const timer = setInterval(() => {
    const waiting = waitingFor(node, runner)
    if (waiting === null || runner.host.fetchedBytes > fetched) aliveAt = performance.now()
    fetched = runner.host.fetchedBytes
    const giveUp = () => {
      node.versions.forget() // the next time, others may have it by another map
      stall.abort(outOfReach(node, info))
    }
    const doneFor = performance.now() - aliveAt
    if (doneFor > STALL_MS) giveUp()
    else if (doneFor > DOUBT_MS && !asking) {
      asking = true
      isHopeless(node, info)
        .then((hopeless) => {
          asking = false
          if (hopeless && performance.now() - aliveAt > DOUBT_MS) giveUp()
        })
        .catch(safetyCatch) // asked again
    }
    waits = waiting !== null
    if (waiting === null) return
    context.progress(
      transfer.report({
        phase: waitingPhase(waiting),
        peers: [waiting.from],
        done: fetched,
        unit: 'bytes'
      })
    )
  }, REPORT_MS)
  const report: ProgressReporter = (progress) => {
    if (!waits) context.progress(transfer.report(progress))
  }
  try {
    return await work(AbortSignal.any([stall.signal, context.signal]), report)
  } finally {
    clearInterval(timer)
  }
}
