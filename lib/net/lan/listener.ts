/**
 * TCP on one interface. A caller first says whom it wants (a hello); who cannot hears nothing. Then Noise.
 *
 * Invariant: a socket is known to nobody but this file until its key is proven, and destroyed if that takes long.
 */
import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import safetyCatch from 'safety-catch'
import type { Connection } from 'hyperswarm'
import { PRELUDE_BYTES, decodePrelude } from '../../format/lan.ts'
import { isHelloOf, targetOf, type LanIdentity } from './hello.ts'
import { isOnLink, type LanInterface } from './interfaces.ts'
import type { CallLimits } from './call-limits.ts'
import { HANDSHAKE_MS_MAX, secure } from './noise.ts'

export interface ListenerOptions {
  at: LanInterface
  limits: CallLimits
  /** Tried first; any other where it is taken. */
  port: number
  identities(): LanIdentity[]
  /** By which of our identities it was called. */
  onconnection(connection: Connection, as: LanIdentity): void
  /** For the prelude, milliseconds. */
  patienceMs?: number
}

export class Listener {
  readonly #opts: ListenerOptions
  readonly #server: net.Server
  readonly #unproven = new Set<Socket>()
  #closed = false

  constructor(opts: ListenerOptions) {
    this.#opts = opts
    this.#server = net.createServer((socket) => this.#oncall(socket))
    this.#server.unref()
  }

  /** Resolves with the port. Rejects where the interface went away. */
  async listen(): Promise<number> {
    const { at, port } = this.#opts
    try {
      await this.#bind(at.address, port)
    } catch {
      await this.#bind(at.address, 0)
    }
    this.#server.on('error', () => {})
    return (this.#server.address() as AddressInfo).port
  }

  close(): void {
    this.#closed = true
    this.#server.close()
    for (const socket of this.#unproven) socket.destroy()
  }

  async #bind(host: string, port: number): Promise<void> {
    this.#server.listen({ host, port })
    await once(this.#server, 'listening')
  }

  #oncall(socket: Socket): void {
    socket.on('error', () => {})
    const host = socket.remoteAddress
    const { at, limits } = this.#opts
    if (this.#closed || host === undefined || !isOnLink(host, at) || !limits.enter(host)) {
      socket.destroy()
      return
    }
    this.#unproven.add(socket)
    this.#prove(socket)
      .catch(safetyCatch)
      .finally(() => {
        this.#unproven.delete(socket)
        limits.leave(host)
      })
  }

  async #prove(socket: Socket): Promise<void> {
    const hello = await prelude(socket, this.#opts.patienceMs ?? HANDSHAKE_MS_MAX)
    const identity = hello === null ? undefined : this.#wanted(hello)
    if (identity === undefined || socket.destroyed) {
      socket.destroy()
      return
    }
    const connection = await secure(socket, identity.keyPair, null)
    if (connection === null) return
    if (this.#closed) connection.destroy()
    else this.#opts.onconnection(connection, identity)
  }

  #wanted(hello: Buffer): LanIdentity | undefined {
    return this.#opts.identities().find((identity) => isHelloOf(hello, targetOf(identity)))
  }
}

/** The hello at the beginning; null when it does not come in time or is none. What follows stays in the socket. */
function prelude(socket: Socket, patienceMs: number): Promise<Buffer | null> {
  return new Promise((resolve) => {
    let got = Buffer.alloc(0)
    const ondata = (data: Buffer) => {
      got = Buffer.concat([got, data])
      if (got.byteLength < PRELUDE_BYTES) return
      socket.pause()
      done()
      const rest = got.subarray(PRELUDE_BYTES)
      if (rest.byteLength > 0) socket.unshift(rest)
      resolve(decodePrelude(got.subarray(0, PRELUDE_BYTES)))
    }
    const onclose = () => (done(), resolve(null))
    const timer = setTimeout(onclose, patienceMs)
    const done = () => {
      clearTimeout(timer)
      socket.off('data', ondata).off('close', onclose).off('end', onclose)
    }
    socket.on('data', ondata).on('close', onclose).on('end', onclose)
  })
}
