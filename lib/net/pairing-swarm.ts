/**
 * What blind-pairing sees as its swarm: Hyperswarm's connections and those of local networks, with members and
 * candidates alike.
 */
import { EventEmitter } from 'node:events'
import type Hyperswarm from 'hyperswarm'
import type { Connection, Discovery } from 'hyperswarm'

export class PairingSwarm extends EventEmitter {
  readonly connections = new Set<Connection>()
  readonly #swarm: Hyperswarm

  constructor(swarm: Hyperswarm) {
    super()
    this.setMaxListeners(0)
    this.#swarm = swarm
  }

  get dht(): object {
    return this.#swarm.dht
  }

  join(topic: Buffer, opts?: { client?: boolean; server?: boolean }): Discovery {
    return this.#swarm.join(topic, opts)
  }

  flush(): Promise<unknown> {
    return this.#swarm.flush()
  }

  add(connection: Connection): void {
    this.connections.add(connection)
    connection.on('close', () => this.connections.delete(connection))
    this.emit('connection', connection)
  }
}
