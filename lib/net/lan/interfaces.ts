/** Which addresses of this machine take part in a local network: decided here, from what the system says. */
import type { NetworkInterfaceInfo } from 'node:os'

export interface LanInterface {
  name: string
  /** IPv4. */
  address: string
  /** Length of the subnet's prefix, bits. */
  prefix: number
}

/** `loopback` alone; or the interfaces of these names; or all with a private address. */
export type InterfaceChoice = 'loopback' | 'private' | string[]

const INTERFACES_MAX = 16
/** Address and prefix length: RFC 1918, RFC 3927 (no DHCP server there). */
const PRIVATE: readonly [string, number][] = [
  ['10.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['169.254.0.0', 16]
]
const LOOPBACK: LanInterface = { name: 'lo', address: '127.0.0.1', prefix: 8 }

export function lanInterfaces(
  found: NodeJS.Dict<NetworkInterfaceInfo[]>,
  choice: InterfaceChoice
): LanInterface[] {
  if (choice === 'loopback') return [LOOPBACK]
  const chosen: LanInterface[] = []
  for (const [name, infos = []] of Object.entries(found)) {
    for (const { address, family, internal, cidr } of infos) {
      const prefix = Number(cidr?.split('/')[1])
      // With 31 bits or more it is a tunnel with nobody else in it.
      if (family !== 'IPv4' || !(prefix <= 30)) continue
      const wanted = choice === 'private' ? !internal && isPrivate(address) : choice.includes(name)
      if (wanted) chosen.push({ name, address, prefix })
    }
  }
  return chosen.slice(0, INTERFACES_MAX)
}

/** Is that address reached without a router? */
export function isOnLink(host: string, { address, prefix }: LanInterface): boolean {
  return inSubnet(host, address, prefix)
}

function isPrivate(address: string): boolean {
  return PRIVATE.some(([network, prefix]) => inSubnet(address, network, prefix))
}

function inSubnet(host: string, network: string, prefix: number): boolean {
  const [a, b] = [toNumber(host), toNumber(network)]
  if (a === null || b === null) return false
  const size = 2 ** (32 - prefix)
  return Math.floor(a / size) === Math.floor(b / size)
}

function toNumber(address: string): number | null {
  const parts = address.split('.')
  if (parts.length !== 4) return null
  let number = 0
  for (const part of parts) {
    if (!/^\d{1,3}$/.test(part) || Number(part) > 255) return null
    number = number * 256 + Number(part)
  }
  return number
}
