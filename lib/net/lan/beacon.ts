/**
 * Multicast DNS on one interface: says who is here, asks who else is. Packets go out of that interface alone.
 *
 * Invariants
 * - An announcement counts only with the address of its sender, and only from the interface's own subnet: it cannot
 *   make us call anybody else.
 * - At most `PACKETS_PER_S_MAX` packets a second are looked at; at most one answer a second is given.
 */
import dgram from 'node:dgram'
import type { Clock } from '../../base/clock.ts'
import type { Endpoint } from '../../format/lan.ts'
import { isOnLink, type LanInterface } from './interfaces.ts'
import { decodePacket, encodeAnnouncement, encodeQuery } from './records.ts'

const GROUP = '224.0.0.251'
const PORT = 5353
const PACKETS_PER_S_MAX = 100
/** So that not all answer at the same moment. */
const ANSWER_DELAY_MS_MAX = 100
const ANSWER_MS_MIN = 1000

export interface BeaconOptions {
  at: LanInterface
  clock: Clock
  /** Where this device listens on that interface. */
  port: number
  /** Who we are, as we say it now. */
  hellos(): Buffer[]
  onhello(hello: Buffer, endpoint: Endpoint, gone: boolean): void
  onproblem(err: Error): void
}

export class Beacon {
  readonly #opts: BeaconOptions
  readonly #socket = dgram.createSocket({ type: 'udp4', reuseAddr: true })
  #answerTimer: NodeJS.Timeout | null = null
  #answeredAtMs = Number.NEGATIVE_INFINITY
  #secondAtMs = 0
  #packets = 0
  #open = false
  #closed = false

  constructor(opts: BeaconOptions) {
    this.#opts = opts
    this.#socket.unref()
    this.#socket.on('error', (err) => opts.onproblem(err))
    this.#socket.on('message', (packet, { address }) => this.#onpacket(packet, address))
    this.#socket.on('listening', () => this.#onlistening())
    this.#socket.bind(PORT, '0.0.0.0')
  }

  ask(): void {
    this.#send(encodeQuery())
  }

  announce(): void {
    const hellos = this.#opts.hellos()
    if (hellos.length === 0) return
    this.#answeredAtMs = this.#opts.clock.monotonic()
    this.#send(encodeAnnouncement(hellos, this.#opts.at.address, this.#opts.port))
  }

  /** Says goodbye. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (this.#answerTimer !== null) clearTimeout(this.#answerTimer)
    const hellos = this.#opts.hellos()
    const end = () => void this.#socket.close()
    if (!this.#open || hellos.length === 0) return end()
    const { at, port } = this.#opts
    this.#socket.send(encodeAnnouncement(hellos, at.address, port, true), PORT, GROUP, end)
  }

  #onlistening(): void {
    if (this.#closed) return
    const { at, onproblem } = this.#opts
    try {
      this.#socket.addMembership(GROUP, at.address)
      this.#socket.setMulticastInterface(at.address)
      this.#socket.setMulticastTTL(255)
      this.#socket.setMulticastLoopback(true)
    } catch (err) {
      return onproblem(err as Error)
    }
    this.#open = true
    this.ask()
    this.announce()
  }

  #send(packet: Buffer): void {
    if (!this.#open || this.#closed) return
    this.#socket.send(packet, PORT, GROUP, (err) => {
      if (err !== null && !this.#closed) this.#opts.onproblem(err)
    })
  }

  #onpacket(packet: Buffer, host: string): void {
    const { at, clock, onhello } = this.#opts
    if (this.#closed || !isOnLink(host, at) || !this.#mayLook(clock.monotonic())) return
    const { asks, announced } = decodePacket(packet)
    if (asks) this.#answerSoon(clock.monotonic())
    for (const { hello, port, gone } of announced) onhello(hello, { host, port }, gone)
  }

  #mayLook(nowMs: number): boolean {
    if (nowMs - this.#secondAtMs >= 1000) [this.#secondAtMs, this.#packets] = [nowMs, 0]
    return ++this.#packets <= PACKETS_PER_S_MAX
  }

  #answerSoon(nowMs: number): void {
    if (this.#answerTimer !== null) return
    const restMs = Math.max(0, this.#answeredAtMs + ANSWER_MS_MIN - nowMs)
    this.#answerTimer = setTimeout(
      () => {
        this.#answerTimer = null
        this.announce()
      },
      restMs + ANSWER_DELAY_MS_MAX * Math.random()
    ).unref()
  }
}
