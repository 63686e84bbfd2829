/** The lease of a parcel for this device: held already, granted, or asked for. */
import { HyperparcelError } from '../../base/errors.ts'
import type { ParcelInfo } from '../../fleet/index.ts'
import { leaseRefusal, type ResumeDecision } from '../../lease/index.ts'
import { awaitNews, awaitPeer } from '../peers/news.ts'
import type { FleetNode } from '../node.ts'
import type { UseCaseContext } from './context.ts'
import { sayWhile } from './say-while.ts'

/** How long a device that is known but not connected is looked for. */
const FIND_PEER_MS = 8000

export type Lease = ResumeDecision & { ok: true }

/**
 * Resolves when this device holds the lease, durably. The caller has a runner for the parcel or reserved it, else the
 * lease might be granted away meanwhile. Rejects with `LEASE_HELD` and what to do.
 */
export async function takeLease(
  node: FleetNode,
  parcel: ParcelInfo,
  params: { handoff?: boolean; offline?: boolean },
  context: UseCaseContext
): Promise<Lease> {
  // A peer may just be getting it from us. From now on none does: the parcel is in use here.
  await node.leases.settled(parcel.id)
  const decide = () => node.leases.mayResume(parcel.id)
  let decision = decide()
  if (!decision.ok && decision.way === 'wait' && params.offline !== true) {
    await awaitNews(
      node,
      () => (decision = decide()).ok || decision.way !== 'wait',
      FIND_PEER_MS,
      context.signal
    )
  }
  if (!decision.ok && params.offline !== true && decision.holder !== null) {
    if (decision.way === 'handoff' || decision.way === 'request') {
      await askHolder(node, parcel, decision.holder, params.handoff === true, context)
      decision = decide()
    }
  }
  if (!decision.ok) throw refusal(node, parcel, decision)
  if (!decision.claim) return decision
  await node.leases.claim(parcel.id)
  const claimed = decide()
  if (!claimed.ok) throw refusal(node, parcel, claimed)
  return claimed
}

async function askHolder(
  node: FleetNode,
  parcel: ParcelInfo,
  holder: Buffer,
  handoff: boolean,
  context: UseCaseContext
): Promise<void> {
  const name = node.registry.nameOf(holder)
  if (!(await connected(node, holder, name, context))) throw notOnline(node, parcel, name)
  try {
    if (handoff) {
      await sayWhile(context, `asking ${name} to suspend`, [name], () =>
        node.peerApi.requestHandoff(holder, parcel.id, context.signal)
      )
    } else {
      await sayWhile(context, `asking ${name} for the lease`, [name], () =>
        node.peerApi.requestLease(holder, parcel.id, context.signal)
      )
    }
  } catch (err) {
    // It went away while it was asked, or before that was noticed.
    throw (err as { code?: string }).code === 'PEER_UNREACHABLE'
      ? notOnline(node, parcel, name)
      : err
  }
}

function notOnline(node: FleetNode, parcel: ParcelInfo, holder: string): HyperparcelError {
  return new HyperparcelError(
    'LEASE_HELD',
    `${holder} holds the lease of ${parcel.name} and is not online`,
    {
      hint: `Start the daemon on ${holder} and try again. Next time, give the lease in advance there: \`hyperparcel suspend ${parcel.name} --to ${node.registry.name}\`.`,
      context: { parcel: parcel.name, holder, online: false }
    }
  )
}

async function connected(
  node: FleetNode,
  peer: Buffer,
  name: string,
  context: UseCaseContext
): Promise<boolean> {
  const isThere = () => node.network.peers().some(({ publicKey }) => publicKey.equals(peer))
  if (isThere()) return true
  return sayWhile(context, `looking for ${name}`, [name], () =>
    awaitPeer(node, isThere, FIND_PEER_MS, context.signal)
  )
}

function refusal(
  node: FleetNode,
  parcel: ParcelInfo,
  decision: ResumeDecision & { ok: false }
): HyperparcelError {
  const holder = decision.holder === null ? 'nobody' : node.registry.nameOf(decision.holder)
  return leaseRefusal(decision, parcel.name, holder, node.registry.name)
}
