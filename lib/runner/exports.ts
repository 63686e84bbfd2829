/** NBD exports of a session's volumes, each on a socket of its own in the run directory. */
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import type { BlockDevice } from '../block/device.ts'
import { NbdServer } from '../block/nbd/server.ts'

export class Exports {
  readonly #directory: string
  readonly #servers = new Map<string, NbdServer>()

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Serves a device as the default export of `<name>.nbd`; returns the URI. */
  async add(name: string, device: BlockDevice): Promise<string> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    const server = new NbdServer({ socketPath: this.socketOf(name), exports: { '': device } })
    await server.ready()
    this.#servers.set(name, server)
    return this.uri(name)
  }

  socketOf(name: string): string {
    return path.join(this.#directory, `${name}.nbd`)
  }

  uri(name: string): string {
    return `nbd+unix:///?socket=${this.socketOf(name)}`
  }

  /** Sockets by volume. */
  sockets(): Record<string, string> {
    return Object.fromEntries([...this.#servers.keys()].map((name) => [name, this.socketOf(name)]))
  }

  uris(): Record<string, string> {
    return Object.fromEntries([...this.#servers.keys()].map((name) => [name, this.uri(name)]))
  }

  async close(): Promise<void> {
    for (const server of this.#servers.values()) await server.close()
    this.#servers.clear()
  }
}
