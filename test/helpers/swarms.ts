/** A private DHT on the loopback, and Hyperswarms on it. All of it ends with the test. */
import { createRequire } from 'node:module'
import type { Assert } from 'brittle'
import type { KeyPair } from '../../lib/fleet/index.ts'

/** What the tests use of a Hyperswarm. */
export interface TestSwarm {
  readonly connections: Set<object>
  join(
    topic: Buffer,
    opts?: { client?: boolean; server?: boolean }
  ): { flushed(): Promise<unknown> }
  on(event: 'connection', listener: (connection: object) => void): this
  destroy(): Promise<void>
}

interface Testnet {
  bootstrap: { host: string; port: number }[]
  destroy(): Promise<void>
}

const require = createRequire(import.meta.url)
const Hyperswarm = require('hyperswarm') as new (opts: object) => TestSwarm
const createTestnet = require('hyperdht/testnet') as (size: number) => Promise<Testnet>

export async function testnet(t: Assert): Promise<Testnet> {
  const net = await createTestnet(4)
  t.teardown(() => net.destroy(), { order: 10 })
  return net
}

export function swarmOn(
  t: Assert,
  net: Testnet,
  keyPair: KeyPair,
  opts: { firewall?: (key: Buffer) => boolean } = {}
): TestSwarm {
  const swarm = new Hyperswarm({ bootstrap: net.bootstrap, keyPair, ...opts })
  t.teardown(() => swarm.destroy(), { order: 5 })
  return swarm
}
