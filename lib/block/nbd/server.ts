/**
 * An NBD server on a Unix socket of mode 0600, for any number of `BlockDevice`s.
 *
 *   ready() ─▶ listening ──close()──▶ no new clients ─▶ requests under way are answered ─▶ closed
 *
 * It owns neither devices nor their data: whoever made a device closes it, after `close()` or `closeExport()`.
 * Memory for requests under way is bounded for a connection and for all of them together (`slab-pool.ts`).
 */
import type { Server, Socket } from 'node:net'
import ReadyResource from 'ready-resource'
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../../base/errors.ts'
import { listenUnix } from '../../ipc/endpoint.ts'
import type { BlockDevice } from '../device.ts'
import { Connection } from './connection.ts'
import type { ExportTable } from './handshake.ts'
import { SlabPool } from './slab-pool.ts'
import { nbdUri } from './uri.ts'

const CONNECTIONS_MAX = 128
const MEMORY_BYTES_MAX = 36 * 1024 * 1024
const CLOSE_GRACE_MS = 2000

export interface NbdServerOptions {
  /** At most 107 bytes. */
  socketPath: string
  /** Devices by export name. */
  exports: Record<string, BlockDevice>
  /** What the name '' finds; without it, the only export where there is one. */
  defaultExport?: string
  /** Clients at once; further ones are turned away. */
  connectionsMax?: number
  /** Memory for requests and replies under way, all connections together. */
  memoryBytesMax?: number
  /** How long `close` waits for a device that is still busy with requests, and for clients to take replies. */
  closeGraceMs?: number
  /** A device failed to serve a request. The client was told. */
  onerror?: (err: unknown, exportName: string) => void
}

export class NbdServer extends ReadyResource {
  readonly socketPath: string
  readonly #exports: Map<string, BlockDevice>
  readonly #defaultExport: string | undefined
  readonly #connectionsMax: number
  readonly #closeGraceMs: number
  readonly #onerror: (err: unknown, exportName: string) => void
  readonly #pool: SlabPool
  readonly #connections = new Set<Connection>()
  #server: Server | null = null

  constructor(opts: NbdServerOptions) {
    super()
    this.socketPath = opts.socketPath
    this.#exports = new Map(Object.entries(opts.exports))
    this.#defaultExport = opts.defaultExport
    this.#connectionsMax = opts.connectionsMax ?? CONNECTIONS_MAX
    this.#closeGraceMs = opts.closeGraceMs ?? CLOSE_GRACE_MS
    this.#onerror = opts.onerror ?? safetyCatch
    this.#pool = new SlabPool(opts.memoryBytesMax ?? MEMORY_BYTES_MAX)
  }

  /** Clients connected now. */
  get connections(): number {
    return this.#connections.size
  }

  /** Memory held for requests and replies under way, in bytes. 0 when idle. */
  get memoryBytes(): number {
    return this.#pool.usedBytes
  }

  /** Without a name: of the default export. */
  uri(exportName = ''): string {
    return nbdUri(this.socketPath, exportName)
  }

  /** Offers one more export. Throws `EXPORT_EXISTS` for a name that is taken. */
  addExport(name: string, device: BlockDevice): void {
    if (this.#exports.has(name)) {
      throw new HyperparcelError('EXPORT_EXISTS', `There is already an export ${name}`)
    }
    this.#exports.set(name, device)
  }

  /** Takes an export away; its clients are disconnected after the requests under way were answered. */
  async closeExport(name: string): Promise<void> {
    const device = this.#exports.get(name)
    if (device === undefined) return
    this.#exports.delete(name)
    await this.#end((connection) => connection.device === device)
  }

  protected override async _open(): Promise<void> {
    const onconnection = (socket: Socket) => this.#onconnection(socket)
    this.#server = await listenUnix(this.socketPath, onconnection, { pauseOnConnect: true })
    this.#server.on('error', safetyCatch)
  }

  protected override async _close(): Promise<void> {
    const server = this.#server
    if (server === null) return
    const closed = new Promise((resolve) => server.close(resolve))
    await this.#end(() => true)
    await closed
  }

  async #end(which: (connection: Connection) => boolean): Promise<void> {
    const ending = [...this.#connections].filter(which)
    await Promise.all(ending.map((connection) => connection.end(this.#closeGraceMs)))
  }

  #onconnection(socket: Socket): void {
    if (this.#connections.size >= this.#connectionsMax || this.closing !== null) {
      socket.on('error', () => {})
      socket.destroy()
      return
    }
    const connection = new Connection(socket, {
      exports: this.#table,
      pool: this.#pool,
      onerror: this.#onerror,
      onclose: () => this.#connections.delete(connection)
    })
    this.#connections.add(connection)
  }

  readonly #table: ExportTable = {
    names: () => [...this.#exports.keys()],
    find: (asked) => {
      const name = asked === '' && !this.#exports.has('') ? this.#defaultName() : asked
      const device = name === undefined ? undefined : this.#exports.get(name)
      return name === undefined || device === undefined ? null : { name, device }
    }
  }

  #defaultName(): string | undefined {
    if (this.#defaultExport !== undefined) return this.#defaultExport
    return this.#exports.size === 1 ? this.#exports.keys().next().value : undefined
  }
}
