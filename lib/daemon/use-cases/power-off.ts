/** poweroff and discard: a running VM ends without a version of its memory. */
import { setTimeout as sleep } from 'node:timers/promises'
import { HyperparcelError } from '../../base/errors.ts'
import { dropLeftovers } from '../../runner/leftovers.ts'
import { unmountBelow } from '../../vmm/qemu/mounts.ts'
import type { Params, Result } from '../api.ts'
import type { FleetNode } from '../node.ts'
import type { UseCaseContext } from './context.ts'

const POWEROFF_TIMEOUT_MS = 120_000
/** A guest that is still booting does not hear it the first time. */
const PRESS_AGAIN_MS = 10_000

export async function poweroff(
  node: FleetNode,
  params: Params<'poweroff'>,
  context: UseCaseContext
): Promise<Result<'poweroff'>> {
  const parcel = node.parcel(params.name)
  const runner = node.runners.running(parcel, 'poweroff')
  runner.ending = true
  try {
    context.progress({ phase: 'waiting for the guest to shut down' })
    const deadline = performance.now() + POWEROFF_TIMEOUT_MS
    for (let pressAt = 0; ;) {
      runner.status = await runner.process.call('status', null)
      if (runner.status.state === 'gone') break
      const now = performance.now()
      if (now >= pressAt) {
        pressAt = now + PRESS_AGAIN_MS
        await runner.process.call('powerButton', null)
      }
      if (now > deadline) {
        throw new HyperparcelError('POWEROFF_TIMEOUT', `${parcel.name} did not shut down`, {
          hint: 'Its guest ignores the power button: shut it down from inside, or suspend it.'
        })
      }
      await sleep(200)
    }
  } catch (err) {
    runner.ending = false
    throw err
  }
  const summary = await node.runners.commitDisks(runner, 'poweroff', '')
  await node.runners.end(runner, false)
  return { parcel: parcel.name, version: summary?.number ?? numberOf(node, parcel.id) }
}

export async function discard(
  node: FleetNode,
  params: Params<'discard'>
): Promise<Result<'discard'>> {
  const parcel = node.parcel(params.name)
  const crashed = node.runners.get(parcel.id) === null && (await node.hasLeftovers(parcel.id))
  const runner = crashed
    ? await node.runners.start(parcel, 'work') // nobody resumes it meanwhile
    : node.runners.running(parcel, 'discard')
  if (crashed) {
    await unmountBelow(node.runDirectory(parcel.id))
    await dropLeftovers(node.stateDirectory(parcel.id))
  }
  await node.runners.end(runner, true)
  return { parcel: parcel.name, version: numberOf(node, parcel.id) }
}

function numberOf(node: FleetNode, parcel: Buffer): number {
  return node.registry.versions(parcel).at(-1)?.number ?? 0
}
