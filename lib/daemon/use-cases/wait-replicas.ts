/** Waits until enough other devices hold all of a version, and asks them to. */
import { setTimeout as sleep } from 'node:timers/promises'
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../../base/errors.ts'
import type { VersionInfo } from '../../fleet/index.ts'
import type { FleetNode } from '../node.ts'
import type { FetchState } from '../versions/proactive.ts'
import type { UseCaseContext } from './context.ts'

const POLL_MS = 500

/** Throws `USAGE` when there are not that many other devices: nothing would ever end the wait. */
export function refuseTooManyReplicas(node: FleetNode, wanted: number): void {
  const self = node.identity.device.publicKey
  const others = node.registry
    .devices()
    .filter(({ removed, publicKey }) => !removed && !publicKey.equals(self))
  if (wanted <= others.length) return
  const names = others.map(({ name }) => name).join(', ')
  throw new HyperparcelError('USAGE', `There are not ${wanted} other devices: nothing was done`, {
    hint:
      others.length === 0
        ? 'There is no other device yet: see `hyperparcel help invite`.'
        : `There ${others.length === 1 ? 'is' : 'are'} ${names}.`
  })
}

/**
 * Resolves with how many hold it, at once when none are `wanted`. Of the devices that are online as many as needed are
 * asked to fetch it, `first` before others. Without any it waits until one is.
 */
export async function waitReplicas(
  node: FleetNode,
  info: VersionInfo,
  wanted: number,
  first: Buffer | null,
  { signal, progress }: UseCaseContext
): Promise<number> {
  for (;;) {
    const found = await node.replicas.count(info)
    if (found >= wanted) return found
    const { asked, refusal } = await askForMore(node, info, wanted - found, first, signal)
    const peers = asked.map(({ name }) => name)
    if (asked.length > 0) {
      const done = asked.reduce((sum, { state }) => sum + state.bytesLocal, 0)
      const total = asked.reduce((sum, { state }) => sum + state.bytesTotal, 0)
      progress({ phase: `sending to ${peers.join(', ')}`, done, total, unit: 'bytes', peers })
    } else {
      const why = refusal === null ? 'no other device is online' : refusal.message
      const phase = `waiting for replicas: ${why}`
      progress({ phase, done: found, total: wanted, unit: 'items' })
    }
    await sleep(POLL_MS, undefined, { signal }).catch(safetyCatch)
    signal.throwIfAborted() // its reason says that it was an interrupt
  }
}

interface Asked {
  name: string
  state: FetchState
}

/** Asks connected devices until enough of them fetch it. */
async function askForMore(
  node: FleetNode,
  info: VersionInfo,
  needed: number,
  first: Buffer | null,
  signal: AbortSignal
): Promise<{ asked: Asked[]; refusal: HyperparcelError | null }> {
  const holders = node.replicas.holders(info)
  const keys = node.network
    .peers()
    .map(({ publicKey }) => publicKey)
    .filter((key) => !holders.some((holder) => holder.equals(key)))
    .sort((a, b) => Number(first?.equals(b) === true) - Number(first?.equals(a) === true))
  const asked: Asked[] = []
  let refusal: HyperparcelError | null = null
  for (const key of keys) {
    if (asked.length === needed) break
    try {
      const state = await node.peerApi.requestFetch(key, info, signal)
      asked.push({ name: node.registry.nameOf(key), state })
    } catch (err) {
      signal.throwIfAborted()
      refusal = HyperparcelError.from(err)
    }
  }
  return { asked, refusal }
}
