/** What the device that holds a parcel's lease does with it: only that device can say, while it is online. */
import type { ParcelInfo } from '../../fleet/index.ts'
import type { HoldsAnswer } from './call-params.ts'
import type { FleetNode } from '../node.ts'

export type Whereabouts = 'running' | 'suspended'

/** Users wait for it: who does not answer by then is as if it were offline. */
const ASK_TIMEOUT_MS = 1000
/** Of no version: the answer then costs nothing. */
const NO_VERSION = '0'.repeat(64)

/** Null where this device holds the lease, or nobody, or who holds it cannot be asked. */
export async function whereabouts(
  node: FleetNode,
  parcel: ParcelInfo
): Promise<Whereabouts | null> {
  const body = node.leases.chain(parcel.id).head?.entry.body
  if (body === undefined || body.released) return null
  if (body.holder.equals(node.identity.device.publicKey)) return null
  if (!node.network.isConnected(body.holder)) return null
  const params = { parcel: parcel.id.toString('hex'), version: NO_VERSION }
  try {
    const { runs } = await node.network.call<HoldsAnswer>(body.holder, 'holds', params, {
      timeoutMs: ASK_TIMEOUT_MS
    })
    return runs === undefined ? null : runs === true ? 'running' : 'suspended'
  } catch {
    return null
  }
}
