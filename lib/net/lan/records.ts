/**
 * Announcements as DNS-SD has them (RFC 6763): a PTR of the service to an instance, its SRV and address. The name of
 * the instance is a hello in hex. What comes in is from anybody: nothing here throws for it.
 */
import dns from 'dns-packet'
import { HELLO_BYTES } from '../../format/lan.ts'

export const SERVICE = '_hyperparcel._tcp.local'
/** Larger packets are nothing of ours: dropped before they are decoded. */
export const PACKET_BYTES_MAX = 1500
/** Of one packet; more than one device has. */
export const INSTANCES_MAX = 16
const TTL_S = 120
/** In the header of an answer, RFC 1035. */
const AUTHORITATIVE = 0x0400

export interface Announced {
  hello: Buffer
  port: number
  /** It says that it goes away. */
  gone: boolean
}

export interface Heard {
  /** Somebody asks who is there. */
  asks: boolean
  announced: Announced[]
}

const NOTHING: Heard = { asks: false, announced: [] }
const INSTANCE = new RegExp(`^([0-9a-f]{${2 * HELLO_BYTES}})\\.${SERVICE.replaceAll('.', '\\.')}$`)

export function encodeQuery(): Buffer {
  return dns.encode({ type: 'query', questions: [{ name: SERVICE, type: 'PTR' }] })
}

/** @param address of the interface on which it is sent */
export function encodeAnnouncement(
  hellos: Buffer[],
  address: string,
  port: number,
  gone = false
): Buffer {
  const ttl = gone ? 0 : TTL_S
  const names = hellos.slice(0, INSTANCES_MAX).map((hello) => hello.toString('hex'))
  return dns.encode({
    type: 'response',
    flags: AUTHORITATIVE,
    answers: names.map((name) => ({
      name: SERVICE,
      type: 'PTR',
      ttl,
      data: `${name}.${SERVICE}`
    })),
    additionals: names.flatMap((name) => [
      {
        name: `${name}.${SERVICE}`,
        type: 'SRV',
        ttl,
        flush: true,
        data: { port, target: `${names[0]}.local` }
      },
      ...(name === names[0]
        ? [{ name: `${name}.local`, type: 'A', ttl, flush: true, data: address }]
        : [])
    ])
  })
}

/** What a packet says about us; nothing for what is not understood. */
export function decodePacket(packet: Buffer): Heard {
  if (packet.byteLength > PACKET_BYTES_MAX) return NOTHING
  try {
    const { type, questions = [], answers = [], additionals = [] } = dns.decode(packet)
    if (type === 'query') {
      const asks = questions.some((q) => q.type === 'PTR' && isService(q.name))
      return { asks, announced: [] }
    }
    return { asks: false, announced: announced([...answers, ...additionals]) }
  } catch {
    return NOTHING
  }
}

function announced(records: dns.Answer[]): Announced[] {
  const found: Announced[] = []
  for (const { name, type, ttl, data } of records) {
    if (type !== 'SRV' || typeof name !== 'string' || found.length >= INSTANCES_MAX) continue
    const match = INSTANCE.exec(name.toLowerCase())
    const port = (data as dns.SrvData | undefined)?.port
    if (match === null || !Number.isInteger(port) || port! < 1) continue
    found.push({ hello: Buffer.from(match[1], 'hex'), port: port!, gone: ttl === 0 })
  }
  return found
}

function isService(name: unknown): boolean {
  return typeof name === 'string' && name.toLowerCase() === SERVICE
}
