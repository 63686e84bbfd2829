/** What a device lets caches of its fleet do, and asks of them. */
import * as v from 'valibot'
import { HyperparcelError } from '../../base/errors.ts'
import type { PeerHandlers } from '../../net/calls.ts'
import type { FleetNode } from '../node.ts'

/** Users wait for it. */
const ASK_TIMEOUT_MS = 1500
/** A cache has no part in leases, and nothing to ask about versions. */
const FOR_CACHES = ['cards']
const Bytes = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const State = v.object({ quotaBytes: Bytes, heldBytes: Bytes, full: v.boolean() })

export type CacheStateAnswer = v.InferOutput<typeof State>

/** The handlers, of which caches may call only a few. */
export function guardCalls(
  handlers: PeerHandlers,
  isCache: (peer: Buffer) => boolean
): PeerHandlers {
  return Object.fromEntries(
    Object.entries(handlers).map(([method, handler]) => [
      method,
      (params, context) => {
        if (FOR_CACHES.includes(method) || !isCache(context.peer)) return handler(params, context)
        throw new HyperparcelError('NOT_FOR_CACHES', `A cache may not call ${method}`)
      }
    ])
  )
}

/** What a connected cache says of itself; null where it says nothing. */
export async function askCache(node: FleetNode, cache: Buffer): Promise<CacheStateAnswer | null> {
  if (!node.network.isConnected(cache)) return null
  const opts = { timeoutMs: ASK_TIMEOUT_MS }
  const answer = await node.network.call(cache, 'cache.state', null, opts).catch(() => null)
  const parsed = v.safeParse(State, answer)
  return parsed.success ? parsed.output : null
}
