/**
 * A private DHT for a network with no Internet: a bootstrap node and the persistent nodes without which
 * connections open and then time out (measured).
 */
import dgram from 'node:dgram'
import { isIPv4 } from 'node:net'
import HyperDHT from 'hyperdht'
import ReadyResource from 'ready-resource'
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../base/errors.ts'

export const DHT_PORT = 49737
const PERSISTENT_NODES = 3
const HOST_HINT = 'Give the IPv4 address by which the other machines reach this one, as --host.'

export interface PrivateDhtOptions {
  /** The IPv4 address under which the other machines reach this one. */
  host?: string
  port?: number
}

export class PrivateDht extends ReadyResource {
  readonly host: string
  readonly port: number
  readonly #nodes: HyperDHT[] = []

  constructor({ host, port }: PrivateDhtOptions = {}) {
    super()
    this.host = host ?? '127.0.0.1'
    this.port = port ?? DHT_PORT
  }

  /** What the other machines give as `--bootstrap`. */
  get bootstrap(): string[] {
    return [`${this.host}:${this.port}`]
  }

  protected override async _open(): Promise<void> {
    checkHost(this.host)
    try {
      // On loopback nothing else should reach it; elsewhere NAT may hide the address that others use.
      const bind = this.host.startsWith('127.') ? this.host : '0.0.0.0'
      // A node that cannot bind its port cannot be destroyed either, and keeps the process alive.
      await probe(this.port, bind)
      await this.#start(HyperDHT.bootstrapper(this.port, this.host, { host: bind }))
      for (let i = 1; i <= PERSISTENT_NODES; i++) {
        await this.#start(
          new HyperDHT({
            bootstrap: this.bootstrap,
            host: bind,
            port: this.port + i,
            ephemeral: false,
            firewalled: false
          })
        )
      }
    } catch (err) {
      await this._close()
      throw openError(err, this.host, this.port)
    }
  }

  protected override async _close(): Promise<void> {
    for (const node of this.#nodes.splice(0).toReversed()) await node.destroy().catch(safetyCatch)
  }

  async #start(node: HyperDHT): Promise<void> {
    this.#nodes.push(node)
    await node.fullyBootstrapped()
  }
}

/** Rejects with the system's error when the port cannot be bound. */
function probe(port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = dgram.createSocket('udp4')
    socket.once('error', (err) => {
      socket.close()
      reject(err)
    })
    socket.bind({ port, address: host, exclusive: true }, () => socket.close(() => resolve()))
  })
}

/** Peers are told this address, so it has to be one. */
function checkHost(host: string): void {
  if (isIPv4(host) && host !== '0.0.0.0') return
  const what =
    host === '0.0.0.0'
      ? '0.0.0.0 stands for every address of this machine: other machines cannot reach it by that'
      : `${host} is no IPv4 address`
  throw new HyperparcelError('USAGE', what, { hint: HOST_HINT })
}

function openError(err: unknown, host: string, port: number): HyperparcelError {
  const { code } = err as { code?: string }
  if (code === 'EADDRINUSE') {
    return new HyperparcelError('PORT_IN_USE', `Port ${port} of ${host} is in use`, {
      hint: 'Another DHT may be running here already: use it, or give another --port.',
      cause: err
    })
  }
  if (code === 'EACCES') {
    return new HyperparcelError('PORT_FORBIDDEN', `This user may not open port ${port}`, {
      hint: 'Ports below 1024 need root: give another --port.',
      cause: err
    })
  }
  if (code === 'EADDRNOTAVAIL') {
    return new HyperparcelError('USAGE', `${host} is no address of this machine`, {
      hint: HOST_HINT,
      cause: err
    })
  }
  return HyperparcelError.from(err)
}
