/** Devices and caches that were connected as sources of bytes. */
import type { FleetNode } from '../node.ts'
import type { SourceCount } from '../transfers/byte-sources.ts'

export function peerSources({ network, registry }: FleetNode): SourceCount[] {
  const roles = new Map(registry.devices().map((d) => [d.publicKey.toString('hex'), d.role]))
  return network.traffic.counted().map(({ publicKey, blockBytesIn, blockBytesOut }) => ({
    name: registry.nameOf(publicKey),
    kind: roles.get(publicKey.toString('hex')) ?? 'device',
    bytesIn: blockBytesIn,
    bytesOut: blockBytesOut
  }))
}
