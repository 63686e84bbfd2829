/** Fleets of networks on loopback for tests: a private DHT, stores, real swarms. */
import dgram from 'node:dgram'
import { once } from 'node:events'
import { randomBytes } from 'node:crypto'
import type { Assert } from 'brittle'
import HyperDHT, { type KeyPair } from 'hyperdht'
import { PrivateDht } from '../../lib/net/dht.ts'
import { Network, type NetworkOptions } from '../../lib/net/network.ts'
import type { LogStore } from '../../lib/store/log-store.ts'
import { createLogStore } from './stores.ts'

export async function freeUdpPort(): Promise<number> {
  const socket = dgram.createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const { port } = socket.address()
  socket.close()
  return port
}

export async function createDht(t: Assert): Promise<PrivateDht> {
  const dht = new PrivateDht({ port: await freeUdpPort() })
  await dht.ready()
  t.teardown(() => dht.close(), { order: 1 })
  return dht
}

export interface Device {
  network: Network
  store: LogStore
  keyPair: KeyPair
}

/** Members are shared by all devices of one fleet: push a key to admit it. */
export class Fleet {
  readonly t: Assert
  readonly bootstrap: string[]
  readonly topic = randomBytes(32)
  readonly members: Buffer[] = []
  readonly #answers: boolean
  readonly #networks: Network[] = []

  constructor(t: Assert, bootstrap: string[], answers = true) {
    this.t = t
    this.bootstrap = bootstrap
    this.#answers = answers
  }

  static async create(t: Assert): Promise<Fleet> {
    return new Fleet(t, (await createDht(t)).bootstrap)
  }

  /** Its DHT answers nobody. */
  static async silent(t: Assert): Promise<Fleet> {
    return new Fleet(t, [`127.0.0.1:${await freeUdpPort()}`], false)
  }

  /** A connected device of the fleet. */
  async device(opts: Partial<NetworkOptions> = {}): Promise<Device> {
    const keyPair = opts.keyPair ?? HyperDHT.keyPair()
    if (!this.isMember(keyPair.publicKey)) this.members.push(keyPair.publicKey)
    return this.join({ ...opts, keyPair })
  }

  /** A device that the others know nothing of. */
  async join(opts: Partial<NetworkOptions> = {}): Promise<Device> {
    const store = opts.store ?? (await createLogStore(this.t))
    const keyPair = opts.keyPair ?? HyperDHT.keyPair()
    const network = new Network({
      topic: this.topic,
      bootstrap: this.bootstrap,
      isMember: (key) => this.isMember(key),
      members: () => this.members,
      mayServe: () => true,
      ...opts,
      store,
      keyPair
    })
    await network.ready()
    if (this.#answers) await network.swarm.status(this.topic)?.flushed()
    // All at once: where the DHT answers nobody, each takes seconds.
    if (this.#networks.push(network) === 1) {
      const close = () => Promise.all(this.#networks.map((opened) => opened.close()))
      this.t.teardown(close, { order: -2 })
    }
    return { network, store, keyPair }
  }

  isMember(key: Buffer): boolean {
    return this.members.some((member) => member.equals(key))
  }
}

/** Resolves when the first sees the second as a connected device. */
export async function connected(a: Device, b: Device): Promise<void> {
  while (!a.network.isConnected(b.keyPair.publicKey)) await once(a.network, 'peer-add')
}
