/** What a user is told when data of a version does not come: who should have it, and whom to switch on. */
import { HyperparcelError } from '../../base/errors.ts'
import type { VersionInfo } from '../../fleet/index.ts'
import type { FleetNode } from '../node.ts'

/** `DATA_UNREACHABLE`, with the devices that may have the version, its author first, after what else the user should know. */
export function outOfReach(node: FleetNode, info: VersionInfo, note?: string): HyperparcelError {
  const { registry } = node
  const parcel = registry.parcel(info.parcel)?.name ?? 'the parcel'
  const { author, offline } = mayHave(node, info)
  const isOurs = info.device.equals(node.identity.device.publicKey)
  const advice =
    offline.length > 0
      ? `${offline.length === 1 ? 'Not online' : 'Not online, the likeliest first'}: ${offline.join(', ')}. Start the daemon there, then try again.`
      : `All devices are online, and none sends it: it may have been pruned everywhere. \`hyperparcel log ${parcel}\` shows what is here.`
  return new HyperparcelError(
    'DATA_UNREACHABLE',
    `Version ${info.number} of ${parcel}, made ${isOurs ? 'here' : `by ${author}`}, is not all here, and no device sends the rest`,
    {
      hint: note === undefined ? advice : `${note} ${advice}`,
      context: { parcel, version: info.number, author, offline }
    }
  )
}

/** For a progress report, while there is still hope. */
export function waitingForVersion(node: FleetNode, info: VersionInfo): string {
  const parcel = node.registry.parcel(info.parcel)?.name ?? 'the parcel'
  const { author, offline } = mayHave(node, info)
  const waiting = `waiting for data of ${parcel}`
  if (offline.includes(author)) return `${waiting}: ${author} is not online`
  if (!info.device.equals(node.identity.device.publicKey)) return `${waiting} from ${author}`
  // Made here, and dropped here.
  const others = node.network.peers().map(({ publicKey }) => node.registry.nameOf(publicKey))
  if (others.length > 0) return `${waiting} from ${others.join(' or ')}`
  return `${waiting}: ${offline.length === 0 ? 'no other device' : offline.join(' and ')} is not online`
}

/**
 * Is it certain that waiting does not help? So it is when the device that made it is this one or connected, and all that are
 * connected say that they do not have all of it.
 */
export async function isHopeless(node: FleetNode, info: VersionInfo): Promise<boolean> {
  const { network, registry, replicas, identity, lookaside } = node
  const self = identity.device.publicKey
  if (lookaside.maps(info).length > 0) return false // a stick has it
  if (!info.device.equals(self) && !network.isConnected(info.device)) return false
  const peers = network.peers()
  if (peers.length === 0) {
    return !registry.devices().some(({ removed, publicKey }) => !removed && !publicKey.equals(self))
  }
  const answers = await replicas.maps(info)
  return answers.length >= peers.length && answers.every(({ holds }) => !holds)
}

function mayHave(node: FleetNode, info: VersionInfo): { author: string; offline: string[] } {
  const { registry, network, identity } = node
  const likeliest = [info.device, ...node.replicas.holders(info)]
  const others = registry.devices().filter(({ removed }) => !removed)
  const away = [...likeliest, ...others.map(({ publicKey }) => publicKey)].filter(
    (key) => !key.equals(identity.device.publicKey) && !network.isConnected(key)
  )
  return {
    author: registry.nameOf(info.device),
    offline: [...new Set(away.map((key) => registry.nameOf(key)))]
  }
}
