/**
 * What devices say to each other on a local network before they know each other, and about their paths after. Byte
 * tables are in `README.md`.
 */
import { bytes, invalid, list, struct, type Codec } from './fields.ts'
import { uint, type ById } from './fetch.ts'

/** Names a key pair to who knows it already, and nothing to anybody else: see `net/lan/hello.ts`. */
export const HELLO_BYTES = 24

const MAGIC = Buffer.from('HPLN')
const FORMAT = 1

/** The first bytes of a TCP connection: whom the caller wants. */
export const PRELUDE_BYTES = MAGIC.byteLength + 1 + HELLO_BYTES

export function encodePrelude(hello: Buffer): Buffer {
  return Buffer.concat([MAGIC, Buffer.from([FORMAT]), hello])
}

/** The hello; null for what is no prelude of this format. */
export function decodePrelude(data: Buffer): Buffer | null {
  if (data.byteLength !== PRELUDE_BYTES || data[MAGIC.byteLength] !== FORMAT) return null
  return MAGIC.equals(data.subarray(0, MAGIC.byteLength)) ? data.subarray(5) : null
}

export const PATH_PROTOCOL = 'hyperparcel/path'
export const PATH_VERSION = 1

/** In one message. */
export const ENDPOINTS_MAX = 8

/** Where a device listens for TCP. */
export interface Endpoint {
  /** IPv4. */
  host: string
  port: number
}

const octets = bytes(4)

const ipv4: Codec<string> = {
  preencode: (state) => void (state.end += 4),
  encode: (state, host) => octets.encode(state, Buffer.from(host.split('.').map(Number))),
  decode: (state) => octets.decode(state).join('.')
}

const port: Codec<number> = {
  preencode: uint.preencode,
  encode: uint.encode,
  decode(state) {
    const value = uint.decode(state)
    if (value < 1 || value > 65_535) throw invalid('A port is out of range')
    return value
  }
}

/** In the order of their numbers on the wire. */
export const PATH_MESSAGES = {
  ping: struct<ById>({ id: uint }),
  pong: struct<ById>({ id: uint }),
  endpoints: struct<{ endpoints: Endpoint[] }>({
    endpoints: list(struct<Endpoint>({ host: ipv4, port }), ENDPOINTS_MAX)
  })
} as const
