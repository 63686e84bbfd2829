/** Bulk transfers make way for guests: what a guest needs at once would wait behind what is asked for already. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { FleetNode } from '../node.ts'

/** The guests needed nothing for that long: they can do without us for a moment. */
const QUIET_MS = 150
const QUIET_POLL_MS = 25
/** However busy they are, some of a bulk transfer comes after that. */
const YIELD_MS_MAX = 1000
/** Blocks asked for at once while VMs run here, and while none does. */
const BLOCKS_AMONG_GUESTS = 8
const BLOCKS_ALONE = 256

/** Resolves with the number of blocks that may be asked for next. */
export async function makeWay(node: FleetNode, signal: AbortSignal): Promise<number> {
  const end = performance.now() + YIELD_MS_MAX
  const busy = () => node.runners.list().some(({ host }) => host.quietMs() < QUIET_MS)
  while (busy() && performance.now() < end) await sleep(QUIET_POLL_MS, undefined, { signal })
  return node.runners.list().length > 0 ? BLOCKS_AMONG_GUESTS : BLOCKS_ALONE
}
