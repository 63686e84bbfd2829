/**
 * What an earlier daemon had begun when it was killed, and whose client is gone: ended as if the client had left.
 * VMs are not among it, they go on.
 */
import type { FleetNode } from '../node.ts'
import { stopServing } from '../use-cases/serve.ts'

export async function settleUnfinished(node: FleetNode): Promise<void> {
  for (const runner of node.runners.list()) {
    if (runner.purpose === 'vm') continue
    try {
      if (runner.purpose === 'serve') await stopServing(node, runner)
      else await node.runners.end(runner, true)
    } catch (err) {
      node.logger.error({ err }, 'A runner of an earlier daemon could not be ended')
    }
  }
  await forgetUncreated(node)
}

/** Parcels that this device began to create and that never got a version. */
async function forgetUncreated(node: FleetNode): Promise<void> {
  const self = node.identity.device.publicKey
  for (const { id, creator } of node.registry.parcels()) {
    if (!creator.equals(self) || node.registry.versions(id).length > 0) continue
    await node.forgetUncreated(id)
  }
}
