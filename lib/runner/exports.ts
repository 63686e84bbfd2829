/** NBD exports of a session's volumes, each on a socket of its own in the run directory. */
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { HyperparcelError } from '../base/errors.ts'
import { createLogger } from '../base/logger.ts'
import type { BlockDevice } from '../block/device.ts'
import { NbdServer } from '../block/nbd/server.ts'

const logger = createLogger({ name: 'runner' })

export class Exports {
  readonly #directory: string
  readonly #servers = new Map<string, NbdServer>()
  /** The first error that a client was told; NBD has few words for it. */
  failure: unknown = null

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Serves a device as the default export of `<name>.nbd`; returns the URI. */
  async add(name: string, device: BlockDevice): Promise<string> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    const server = new NbdServer({
      socketPath: this.socketOf(name),
      exports: { '': device },
      onerror: (err) => this.#onerror(name, err)
    })
    await server.ready()
    this.#servers.set(name, server)
    return this.uri(name)
  }

  #onerror(name: string, err: unknown): void {
    if (this.failure === null) {
      const { code, message } = HyperparcelError.from(err)
      logger.error({ volume: name, code }, message)
    }
    this.failure ??= err
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
