/**
 * A bare NBD client for tests: says exactly what it is told, right or wrong. For anything that should simply work
 * use a real client.
 */
import type { Socket } from 'node:net'
import {
  IHAVEOPT,
  OPT,
  REP,
  REPLY_TYPE,
  REQUEST_MAGIC,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_MAGIC
} from '../../lib/block/nbd/protocol.ts'
import { connectUnix } from '../../lib/ipc/endpoint.ts'

export interface OptionReply {
  option: number
  type: number
  data: Buffer
}

export interface Request {
  type: number
  flags?: number
  cookie?: number
  offset?: number
  length?: number
  payload?: Buffer
  magic?: number
}

/** A simple reply, or one chunk of a structured one. */
export interface Reply {
  cookie: number
  /** 0, or the NBD error. */
  error: number
  /** Null for a simple reply. */
  chunk: { flags: number; type: number; payload: Buffer } | null
}

export class NbdClient {
  readonly socket: Socket
  #received: Buffer[] = []
  #receivedBytes = 0
  #closed = false
  #wake: () => void = () => {}
  #structured = false

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (data: Buffer) => {
      this.#received.push(data)
      this.#receivedBytes += data.byteLength
      this.#wake()
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      this.#closed = true
      this.#wake()
    })
  }

  /** Connected, greeted, flags exchanged. */
  static async connect(path: string, clientFlags = 3): Promise<NbdClient> {
    const client = new NbdClient(await connectUnix(path))
    await client.bytes(18)
    client.write(words(clientFlags))
    return client
  }

  /** Connected and in the transmission phase. */
  static async open(
    path: string,
    opts: { name?: string; structured?: boolean; blockStatus?: boolean } = {}
  ): Promise<NbdClient> {
    const client = await NbdClient.connect(path)
    const name = opts.name ?? ''
    if (opts.structured) await client.structured()
    if (opts.blockStatus)
      await client.option(OPT.SET_META_CONTEXT, contexts(name, 'base:allocation'))
    const replies = await client.option(OPT.GO, infoRequest(name))
    if (replies.at(-1)!.type !== REP.ACK) throw new Error('The server refused the export')
    return client
  }

  get closed(): boolean {
    return this.#closed
  }

  write(data: Buffer): void {
    this.socket.write(data)
  }

  /** The next `count` bytes. Rejects when the server closes before. */
  async bytes(count: number): Promise<Buffer> {
    if (count === 0) return Buffer.alloc(0)
    while (this.#receivedBytes < count) {
      if (this.#closed) throw new Error('The server closed the connection')
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
    if (this.#received[0].byteLength < count) this.#received = [Buffer.concat(this.#received)]
    const first = this.#received[0]
    this.#received[0] = first.subarray(count)
    if (this.#received[0].byteLength === 0) this.#received.shift()
    this.#receivedBytes -= count
    return first.subarray(0, count)
  }

  /** Waits until the server closed the connection; anything that it still sends is dropped. */
  async ended(): Promise<void> {
    while (!this.#closed) await new Promise<void>((resolve) => (this.#wake = resolve))
  }

  async structured(): Promise<void> {
    await this.option(OPT.STRUCTURED_REPLY)
    this.#structured = true
  }

  /** Sends an option and collects its replies up to the last. */
  async option(option: number, data: Buffer = Buffer.alloc(0)): Promise<OptionReply[]> {
    this.write(Buffer.concat([words(...IHAVEOPT, option, data.byteLength), data]))
    const replies: OptionReply[] = []
    for (;;) {
      const header = await this.bytes(20)
      const reply = {
        option: header.readUInt32BE(8),
        type: header.readUInt32BE(12),
        data: await this.bytes(header.readUInt32BE(16))
      }
      replies.push(reply)
      if (reply.type === REP.ACK || reply.type >= 0x80000000) return replies
    }
  }

  send(request: Request): void {
    this.write(encodeRequest(request))
  }

  async reply(): Promise<Reply> {
    const head = await this.bytes(16)
    const magic = head.readUInt32BE(0)
    if (magic === SIMPLE_REPLY_MAGIC) {
      return { error: head.readUInt32BE(4), cookie: Number(head.readBigUInt64BE(8)), chunk: null }
    }
    if (magic !== STRUCTURED_REPLY_MAGIC || !this.#structured) throw new Error('Bad reply magic')
    const payload = await this.bytes((await this.bytes(4)).readUInt32BE(0))
    const type = head.readUInt16BE(6)
    const error = type === REPLY_TYPE.ERROR ? payload.readUInt32BE(0) : 0
    const chunk = { flags: head.readUInt16BE(4), type, payload }
    return { error, cookie: Number(head.readBigUInt64BE(8)), chunk }
  }

  async ask(request: Request): Promise<Reply> {
    this.send(request)
    return this.reply()
  }

  /** A whole read, however the server cuts it. Rejects with the NBD error's number. */
  async read(offset: number, length: number): Promise<Buffer> {
    this.send({ type: 0, offset, length })
    const data = Buffer.alloc(length, 0xee)
    for (;;) {
      const { error, chunk } = await this.reply()
      if (error !== 0) throw new Error(`NBD error ${error}`)
      if (chunk === null) return this.bytes(length)
      const at =
        chunk.payload.byteLength >= 8 ? Number(chunk.payload.readBigUInt64BE(0)) - offset : 0
      if (chunk.type === REPLY_TYPE.OFFSET_DATA) chunk.payload.copy(data, at, 8)
      if (chunk.type === REPLY_TYPE.OFFSET_HOLE) {
        data.fill(0, at, at + chunk.payload.readUInt32BE(8))
      }
      if ((chunk.flags & 1) !== 0) return data
    }
  }

  /** As a client that is killed. */
  destroy(): void {
    this.socket.destroy()
  }
}

export function encodeRequest(request: Request): Buffer {
  const header = Buffer.alloc(28)
  header.writeUInt32BE(request.magic ?? REQUEST_MAGIC, 0)
  header.writeUInt16BE(request.flags ?? 0, 4)
  header.writeUInt16BE(request.type, 6)
  header.writeBigUInt64BE(BigInt(request.cookie ?? 7), 8)
  header.writeBigUInt64BE(BigInt(request.offset ?? 0), 16)
  header.writeUInt32BE(request.length ?? request.payload?.byteLength ?? 0, 24)
  return request.payload === undefined ? header : Buffer.concat([header, request.payload])
}

/** Data of NBD_OPT_INFO and NBD_OPT_GO. */
export function infoRequest(name: string, ...infos: number[]): Buffer {
  const counted = Buffer.alloc(2 + infos.length * 2)
  counted.writeUInt16BE(infos.length)
  infos.forEach((info, i) => counted.writeUInt16BE(info, 2 + i * 2))
  return Buffer.concat([counted32(name), counted])
}

/** Data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT. */
export function contexts(name: string, ...queries: string[]): Buffer {
  return Buffer.concat([counted32(name), words(queries.length), ...queries.map(counted32)])
}

export function words(...values: number[]): Buffer {
  const buffer = Buffer.alloc(values.length * 4)
  values.forEach((value, i) => buffer.writeUInt32BE(value, i * 4))
  return buffer
}

function counted32(text: string): Buffer {
  return Buffer.concat([words(Buffer.byteLength(text)), Buffer.from(text)])
}
