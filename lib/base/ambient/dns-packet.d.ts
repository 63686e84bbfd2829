/** What we use of dns-packet 5.6. */
declare module 'dns-packet' {
  namespace dnsPacket {
    interface Question {
      name: string
      type: string
    }

    interface SrvData {
      port: number
      target: string
    }

    interface Answer {
      name: string
      type: string
      ttl?: number
      /** This record replaces others of its name. */
      flush?: boolean
      data: string | SrvData | Buffer[]
    }

    interface Packet {
      type: 'query' | 'response'
      flags?: number
      questions?: Question[]
      answers?: Answer[]
      additionals?: Answer[]
    }

    const AUTHORITATIVE_ANSWER: number
    function encode(packet: Packet): Buffer
    /** Throws for what is none; fields of unknown types may be anything. */
    function decode(data: Buffer): Packet
  }

  export = dnsPacket
}
