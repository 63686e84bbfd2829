/** A device that speaks the fetch protocol as it likes: for everything that an honest one never does. */
import type { Assert } from 'brittle'
import HyperDHT, { type KeyPair } from 'hyperdht'
import Hyperswarm, { type Connection, type Discovery } from 'hyperswarm'
import Protomux from 'protomux'
import { FETCH_MESSAGES, FETCH_PROTOCOL, FETCH_VERSION } from '../../lib/format/fetch.ts'
import { openChannel, type Receivers } from '../../lib/net/channel.ts'
import type { FetchChannel } from '../../lib/net/fetch-channel.ts'
import { createLogStore } from './stores.ts'
import { until } from './until.ts'
import type { Fleet } from './networks.ts'
import type { LogStore } from '../../lib/store/log-store.ts'

export type RawHandlers = Partial<Receivers<typeof FETCH_MESSAGES>>

export class RawPeer {
  readonly swarm: Hyperswarm
  readonly keyPair: KeyPair
  readonly #discovery: Discovery
  readonly connections: Connection[] = []
  readonly channels: FetchChannel[] = []
  /** Times that a fetch channel was really open. */
  opened = 0

  constructor(fleet: Fleet, handlers: (channel: FetchChannel) => RawHandlers) {
    this.keyPair = HyperDHT.keyPair()
    this.swarm = new Hyperswarm({ keyPair: this.keyPair, bootstrap: fleet.bootstrap })
    this.swarm.on('connection', (connection: Connection) => {
      connection.on('error', () => {})
      this.connections.push(connection)
      const channel: FetchChannel = openChannel(Protomux.from(connection), {
        protocol: FETCH_PROTOCOL,
        version: FETCH_VERSION,
        messages: FETCH_MESSAGES,
        receivers: { ...IGNORE, ...lazily(() => handlers(channel)) },
        onopen: () => this.opened++,
        onclose: () => {},
        onviolation: () => {}
      })!
      this.channels.push(channel)
    })
    this.#discovery = this.swarm.join(fleet.topic, { client: true, server: true })
    fleet.t.teardown(() => this.swarm.destroy(), { order: -2 })
  }

  /** It was announced, and knows who else is there. */
  async announced(): Promise<void> {
    await this.#discovery.flushed()
  }

  async connected(): Promise<void> {
    await until(() => this.opened > 0)
  }
}

/** A raw peer that is a member and has a true copy of a log to lie about. */
export async function createLiar(
  t: Assert,
  fleet: Fleet,
  handlers: (channel: FetchChannel, store: LogStore) => RawHandlers
): Promise<{ peer: RawPeer; store: LogStore }> {
  const store = await createLogStore(t)
  const peer = new RawPeer(fleet, (channel) => handlers(channel, store))
  fleet.members.push(peer.keyPair.publicKey)
  return { peer, store }
}

const IGNORE: Receivers<typeof FETCH_MESSAGES> = {
  want: () => {},
  have: () => {},
  blockRequest: () => {},
  lengthRequest: () => {},
  proof: () => {},
  unavailable: () => {},
  cancel: () => {},
  raise: () => {},
  later: () => {}
}

function lazily(make: () => RawHandlers): RawHandlers {
  let made: RawHandlers | null = null
  const out: Record<string, (message: never) => void> = {}
  for (const name of Object.keys(IGNORE) as (keyof typeof IGNORE)[]) {
    out[name] = (message: never) => (made ??= make())[name]?.(message)
  }
  return out
}
