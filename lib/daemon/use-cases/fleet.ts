/** init, invite, join: how a home gets a fleet and a fleet its devices. */
import os from 'node:os'
import { HyperparcelError } from '../../base/errors.ts'
import { createFleet, readInvite } from '../../fleet/index.ts'
import type { Params, Result } from '../api.ts'
import type { Daemon } from '../daemon.ts'
import type { FleetNode } from '../node.ts'
import type { UseCaseContext } from './context.ts'

export async function init(daemon: Daemon, params: Params<'init'>): Promise<Result<'init'>> {
  daemon.refuseFleet()
  await daemon.config.set({ bootstrap: params.bootstrap, lan: params.lan })
  const { identity, recoveryPhrase } = await createFleet({
    keysDirectory: daemon.paths.keys,
    name: params.device ?? defaultName()
  })
  const node = await daemon.openNode(identity)
  return {
    device: node.registry.name,
    fleet: identity.fleet.toString('hex'),
    recovery_phrase: recoveryPhrase
  }
}

export async function invite(
  node: FleetNode,
  params: Params<'invite'>,
  context: UseCaseContext
): Promise<Result<'invite'>> {
  const made = await node.pairing.createInvite({
    role: params.role,
    expiresMs: params.expiresMs,
    bootstrap: node.settings.bootstrap
  })
  context.progress({ phase: 'waiting for the other device', invite: made.text })
  if (!params.wait) return { invite: made.text, paired: null }
  try {
    const { name } = await node.pairing.waitForUse(made.text, context.signal)
    return { invite: made.text, paired: name }
  } catch (err) {
    await node.pairing.cancelInvite(made.text)
    throw err
  }
}

export async function join(
  daemon: Daemon,
  params: Params<'join'>,
  context: UseCaseContext
): Promise<Result<'join'>> {
  if (daemon.nodeOrNull !== null) daemon.refuseFleet()
  const { role } = readInvite(params.invite)
  if (role === 'cache') return enrol(daemon, params, context)
  daemon.refuseFleet()
  if (params.quotaBytes !== undefined) {
    throw new HyperparcelError(
      'USAGE',
      'A quota is for caches, and this is the invite of a device',
      {
        hint: 'Leave --quota out, or ask for an invite that was made with --cache.'
      }
    )
  }
  await daemon.config.set({ bootstrap: params.bootstrap, lan: params.lan })
  const identity = await daemon.pair(params.invite, params.device ?? defaultName(), context)
  const node = await daemon.openNode(identity)
  return { device: node.registry.name, fleet: identity.fleet.toString('hex'), role: identity.role }
}

/** A home may be the cache of several fleets. */
async function enrol(
  daemon: Daemon,
  params: Params<'join'>,
  context: UseCaseContext
): Promise<Result<'join'>> {
  const { quotaBytes } = params
  if (quotaBytes === undefined) {
    throw new HyperparcelError(
      'USAGE',
      'This is the invite of a cache: say how much it may store',
      {
        hint: 'Add --quota SIZE, for example --quota 50G.'
      }
    )
  }
  await daemon.config.set({ bootstrap: params.bootstrap, lan: params.lan })
  const wished = params.device ?? defaultName()
  const { name, fleet, role } = await daemon.enrol(params.invite, wished, quotaBytes, context)
  return { device: name, fleet: fleet.toString('hex'), role }
}

function defaultName(): string {
  const name = os.hostname().split('.')[0].toLowerCase()
  return /^[a-z0-9][a-z0-9-]{0,62}$/.test(name) ? name : 'device'
}
