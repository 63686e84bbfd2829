/** Good copies of bad blocks. */
import { setTimeout as sleep } from 'node:timers/promises'
import { HyperparcelError } from '../../base/errors.ts'
import type { ProgressReporter } from '../../base/progress.ts'
import type { VerifySummary } from '../../runner/protocol.ts'
import { unlessStalled } from './complete-version.ts'
import type { FleetNode } from '../node.ts'

/** Peers connect, when the daemon was just started, and say within that time what they have of a log. */
const ASK_MS = 5000
const POLL_MS = 50
const FETCH_STALL_MS = 15_000

/**
 * Forgets each bad block that a connected peer has and fetches it anew. What nobody has stays as it is. The caller
 * checks again: what was refetched is what its author signed, which may be bad itself.
 */
export async function refetch(
  node: FleetNode,
  bad: VerifySummary['bad'],
  context: { signal: AbortSignal; progress: ProgressReporter }
): Promise<void> {
  const self = node.identity.device.publicKey
  if (node.registry.devices().every((one) => one.removed || one.publicKey.equals(self))) return
  let done = 0
  for (const name of new Set(bad.map(({ log }) => log))) {
    const key = Buffer.from(name, 'hex')
    const blocks: number[] = []
    const until = performance.now() + ASK_MS
    for (const { log, block } of bad) {
      if (log !== name) continue
      if (await offered(node, key, block, until, context.signal)) blocks.push(block)
    }
    const log = await node.store.open(key)
    for (const block of blocks) await log.clear(block, block + 1)
    await unlessStalled(context.signal, FETCH_STALL_MS, noCopies, async (signal, alive) => {
      for (const block of blocks) {
        await node.network.fetcher.fetch(key, [block], { priority: 'proactive', signal })
        alive()
        const phase = 'fetching good copies'
        context.progress({ phase, done: ++done, total: bad.length, unit: 'items' })
      }
    }).catch(unreachable)
  }
  await node.store.flush()
}

/** A bad block that a connected peer has is forgotten here, so that the next fetch gets the good copy. */
export async function forgetBad(node: FleetNode, log: Buffer, block: number): Promise<boolean> {
  // A guest waits for it: nobody is waited for who is not connected.
  const until = performance.now() + (node.network.peers().length === 0 ? 0 : ASK_MS)
  if (!(await offered(node, log, block, until, node.closingSignal))) return false
  node.logger.warn({ log: log.toString('hex'), block }, 'A bad block is fetched again')
  await (await node.store.open(log)).clear(block, block + 1)
  return true
}

/** Has a peer that block? Asks about the log, if nobody did, those that are connected or will be, and waits until then. */
async function offered(
  node: FleetNode,
  log: Buffer,
  block: number,
  until: number,
  signal: AbortSignal
): Promise<boolean> {
  const has = () => node.network.holders(log, block, block + 1).length > 0
  if (has()) return true
  await node.network.ensureLength(log, 0) // peers are asked what they have of any log that somebody asks for
  while (!has() && performance.now() < until) {
    await sleep(POLL_MS, undefined, { signal })
  }
  return has()
}

function noCopies(): HyperparcelError {
  return new HyperparcelError('DATA_UNREACHABLE', 'No device sends good copies any more')
}

function unreachable(err: unknown): void {
  if ((err as { code?: string }).code !== 'DATA_UNREACHABLE') throw err
}
