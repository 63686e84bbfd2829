/**
 * Fixed newstyle negotiation of one connection, up to the choice of an export.
 *
 * Every option is answered; what we do not know with NBD_REP_ERR_UNSUP. A client that breaks the framing is
 * dropped: nothing sensible can follow. Options carry a name or a few queries, so what is larger than
 * `OPTION_BYTES_MAX` is not read at all.
 */
import type { BlockDevice } from '../device.ts'
import { NBD_REQUEST_BYTES_MAX } from '../../base/limits.ts'
import type { ByteQueue } from './byte-queue.ts'
import {
  countedText,
  parseInfoRequest,
  parseMetaContextRequest,
  u16,
  u64,
  words
} from './option-data.ts'
import {
  BASE_ALLOCATION,
  BASE_ALLOCATION_ID,
  BLOCK_SIZE_MIN,
  BLOCK_SIZE_PREFERRED,
  HANDSHAKE_FLAG,
  IHAVEOPT,
  INFO,
  NBDMAGIC,
  OPT,
  REP,
  REPLY_MAGIC,
  TRANSMISSION_FLAG
} from './protocol.ts'

const OPTION_BYTES_MAX = 64 * 1024
/** More rounds than any client needs; one that asks on and on is dropped. */
const OPTIONS_MAX = 4096
const CLIENT_FLAGS_BYTES = 4
const OPTION_HEADER_BYTES = 16

/** The exports of a server, as the negotiation sees them. */
export interface ExportTable {
  names(): string[]
  /** '' finds the default export. */
  find(name: string): { name: string; device: BlockDevice } | null
}

export interface Negotiated {
  exportName: string
  device: BlockDevice
  structuredReplies: boolean
  /** The client chose `base:allocation` for this export. */
  blockStatus: boolean
}

export interface HandshakeHost {
  exports: ExportTable
  write(data: Buffer): void
  /** The transmission phase begins; what follows in the queue belongs to it. */
  onnegotiated(result: Negotiated): void
  /** The connection ends after what was written went out. */
  onabort(): void
  /** The connection is cut. */
  onmalformed(): void
}

export class Handshake {
  readonly #host: HandshakeHost
  #flagsRead = false
  #noZeroes = false
  #structuredReplies = false
  /** Name as the client gave it, of the export for which it chose `base:allocation`. */
  #contextExport: string | null = null
  /** An option whose data is still to come. */
  #pending: { option: number; length: number } | null = null
  #options = 0
  #done = false

  constructor(host: HandshakeHost) {
    this.#host = host
  }

  start(): void {
    const greeting = words(...NBDMAGIC, ...IHAVEOPT)
    this.#host.write(
      Buffer.concat([greeting, u16(HANDSHAKE_FLAG.FIXED_NEWSTYLE | HANDSHAKE_FLAG.NO_ZEROES)])
    )
  }

  /** Consumes every complete option. */
  advance(input: ByteQueue): void {
    if (!this.#flagsRead) {
      if (input.byteLength < CLIENT_FLAGS_BYTES) return
      this.#readClientFlags(input.take(CLIENT_FLAGS_BYTES).readUInt32BE(0))
    }
    while (!this.#done && this.#header(input)) {
      const { option, length } = this.#pending!
      if (input.byteLength < length) return
      this.#pending = null
      this.#serve(option, input.take(length))
    }
  }

  /** True when an option's header is here. */
  #header(input: ByteQueue): boolean {
    if (this.#pending !== null) return true
    if (input.byteLength < OPTION_HEADER_BYTES) return false
    const header = input.take(OPTION_HEADER_BYTES)
    const length = header.readUInt32BE(12)
    const known = header.readUInt32BE(0) === IHAVEOPT[0] && header.readUInt32BE(4) === IHAVEOPT[1]
    if (!known || length > OPTION_BYTES_MAX || ++this.#options > OPTIONS_MAX) {
      this.#malformed()
      return false
    }
    this.#pending = { option: header.readUInt32BE(8), length }
    return true
  }

  #readClientFlags(flags: number): void {
    this.#flagsRead = true
    this.#noZeroes = (flags & HANDSHAKE_FLAG.NO_ZEROES) !== 0
    const known = HANDSHAKE_FLAG.FIXED_NEWSTYLE | HANDSHAKE_FLAG.NO_ZEROES
    if ((flags & ~known) !== 0) this.#malformed()
  }

  #serve(option: number, data: Buffer): void {
    switch (option) {
      case OPT.EXPORT_NAME:
        return this.#exportName(data.toString())
      case OPT.ABORT:
        this.#reply(option, REP.ACK)
        this.#done = true
        return this.#host.onabort()
      case OPT.LIST:
        return this.#list(option, data)
      case OPT.INFO:
      case OPT.GO:
        return this.#info(option, data)
      case OPT.STRUCTURED_REPLY:
        if (data.byteLength > 0) return this.#invalid(option, 'This option takes no data')
        this.#structuredReplies = true
        return this.#reply(option, REP.ACK)
      case OPT.LIST_META_CONTEXT:
      case OPT.SET_META_CONTEXT:
        return this.#metaContext(option, data)
      default:
        return this.#reply(option, REP.ERR_UNSUP)
    }
  }

  /** The oldest way to choose: it has no way to say no. */
  #exportName(name: string): void {
    const found = this.#host.exports.find(name)
    if (found === null) return this.#malformed()
    const size = u64(found.device.size)
    const padding = Buffer.alloc(this.#noZeroes ? 0 : 124)
    this.#host.write(Buffer.concat([size, u16(this.#transmissionFlags(found.device)), padding]))
    this.#finish(name, found)
  }

  #list(option: number, data: Buffer): void {
    if (data.byteLength > 0) return this.#invalid(option, 'This option takes no data')
    for (const name of this.#host.exports.names())
      this.#reply(option, REP.SERVER, countedText(name))
    this.#reply(option, REP.ACK)
  }

  #info(option: number, data: Buffer): void {
    const request = parseInfoRequest(data)
    if (request === null) return this.#invalid(option, 'The request is malformed')
    const found = this.#host.exports.find(request.exportName)
    if (found === null)
      return this.#reply(option, REP.ERR_UNKNOWN, Buffer.from('There is no such export'))
    const size = u64(found.device.size)
    const flags = u16(this.#transmissionFlags(found.device))
    this.#reply(option, REP.INFO, Buffer.concat([u16(INFO.EXPORT), size, flags]))
    const blockSizes = words(BLOCK_SIZE_MIN, BLOCK_SIZE_PREFERRED, NBD_REQUEST_BYTES_MAX)
    this.#reply(option, REP.INFO, Buffer.concat([u16(INFO.BLOCK_SIZE), blockSizes]))
    if (request.infos.includes(INFO.NAME)) {
      this.#reply(option, REP.INFO, Buffer.concat([u16(INFO.NAME), Buffer.from(found.name)]))
    }
    this.#reply(option, REP.ACK)
    if (option === OPT.GO) this.#finish(request.exportName, found)
  }

  #metaContext(option: number, data: Buffer): void {
    const set = option === OPT.SET_META_CONTEXT
    if (set) this.#contextExport = null
    if (!this.#structuredReplies) {
      return this.#invalid(option, 'Structured replies have to be negotiated first')
    }
    const request = parseMetaContextRequest(data)
    if (request === null) return this.#invalid(option, 'The request is malformed')
    if (this.#host.exports.find(request.exportName) === null) {
      return this.#reply(option, REP.ERR_UNKNOWN, Buffer.from('There is no such export'))
    }
    const asked = request.queries.includes(BASE_ALLOCATION)
    const listed = !set && (request.queries.length === 0 || request.queries.includes('base:'))
    if (asked || listed) {
      const id = words(set ? BASE_ALLOCATION_ID : 0)
      this.#reply(option, REP.META_CONTEXT, Buffer.concat([id, Buffer.from(BASE_ALLOCATION)]))
    }
    if (set && asked) this.#contextExport = request.exportName
    this.#reply(option, REP.ACK)
  }

  #transmissionFlags(device: BlockDevice): number {
    const flag = TRANSMISSION_FLAG
    let flags = flag.HAS_FLAGS | flag.SEND_FLUSH | flag.SEND_FUA | flag.CAN_MULTI_CONN
    if (device.readOnly) flags |= flag.READ_ONLY
    else flags |= flag.SEND_TRIM | flag.SEND_WRITE_ZEROES | flag.SEND_FAST_ZERO
    if (this.#structuredReplies) flags |= flag.SEND_DF
    return flags
  }

  #finish(askedName: string, found: { name: string; device: BlockDevice }): void {
    this.#done = true
    this.#host.onnegotiated({
      exportName: found.name,
      device: found.device,
      structuredReplies: this.#structuredReplies,
      blockStatus: this.#contextExport === askedName
    })
  }

  #invalid(option: number, message: string): void {
    this.#reply(option, REP.ERR_INVALID, Buffer.from(message))
  }

  #malformed(): void {
    this.#done = true
    this.#host.onmalformed()
  }

  #reply(option: number, type: number, data: Buffer = Buffer.alloc(0)): void {
    this.#host.write(Buffer.concat([words(...REPLY_MAGIC, option, type, data.byteLength), data]))
  }
}
