/** Waits for what other devices tell: false when the time is up, a rejection when the user gives up. */
import { once, type EventEmitter } from 'node:events'
import { withDeadline } from '../../base/deadline.ts'
import type { FleetNode } from '../node.ts'

/** Until the registry says so. */
export function awaitNews(
  node: FleetNode,
  done: () => boolean,
  timeoutMs: number,
  signal: AbortSignal
): Promise<boolean> {
  return happens(node.registry, 'update', done, timeoutMs, signal)
}

/** Until somebody connected makes it true. */
export function awaitPeer(
  node: FleetNode,
  done: () => boolean,
  timeoutMs: number,
  signal: AbortSignal
): Promise<boolean> {
  return happens(node.network, 'peer-add', done, timeoutMs, signal)
}

function happens(
  emitter: EventEmitter,
  event: string,
  done: () => boolean,
  timeoutMs: number,
  parent: AbortSignal
): Promise<boolean> {
  return withDeadline(timeoutMs, parent, async (signal) => {
    while (!done()) {
      try {
        await once(emitter, event, { signal })
      } catch {
        parent.throwIfAborted()
        return done()
      }
    }
    return true
  })
}
