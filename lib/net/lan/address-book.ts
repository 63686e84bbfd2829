/** Where devices were last heard of on local networks, and when to call there: plain data and decisions. */
import type { Endpoint } from '../../format/lan.ts'

/** Of one device. */
const ENDPOINTS_MAX = 8
const RETRY_MS_MIN = 1000
const RETRY_MS_MAX = 60_000

interface Known extends Endpoint {
  heardAtMs: number
  /** Not before. */
  nextAtMs: number
  waitMs: number
}

export class AddressBook {
  /** By public key in hex: of devices that we look for, nobody else. */
  readonly #known = new Map<string, Known[]>()

  /** It says that it is there. @param delayMs leave it to the other side for so long */
  heard(id: string, { host, port }: Endpoint, nowMs: number, delayMs: number): void {
    const known = this.#known.get(id) ?? []
    this.#known.set(id, known)
    const before = known.find((other) => other.host === host && other.port === port)
    if (before === undefined) {
      known.push({ host, port, heardAtMs: nowMs, nextAtMs: nowMs + delayMs, waitMs: RETRY_MS_MIN })
      known.sort((a, b) => b.heardAtMs - a.heardAtMs)
      known.splice(ENDPOINTS_MAX)
    } else {
      before.heardAtMs = nowMs
      before.waitMs = RETRY_MS_MIN
      before.nextAtMs = Math.min(before.nextAtMs, nowMs + Math.max(delayMs, RETRY_MS_MIN))
    }
  }

  /** It goes away: called again only when it says something else, or now and then. */
  gone(id: string, { host, port }: Endpoint, nowMs: number): void {
    const known = this.#known.get(id)?.find((other) => other.host === host && other.port === port)
    if (known === undefined) return
    known.waitMs = RETRY_MS_MAX
    known.nextAtMs = nowMs + RETRY_MS_MAX
  }

  /** The link broke: try where it was. */
  lost(id: string, nowMs: number): void {
    for (const known of this.#known.get(id) ?? []) {
      known.waitMs = RETRY_MS_MIN
      known.nextAtMs = Math.min(known.nextAtMs, nowMs + RETRY_MS_MIN)
    }
  }

  /** The endpoint to call now, which counts as a try; null when it is too early for all. */
  next(id: string, nowMs: number): Endpoint | null {
    const due = (this.#known.get(id) ?? []).filter(({ nextAtMs }) => nextAtMs <= nowMs)
    if (due.length === 0) return null
    const first = due.reduce((a, b) => (b.heardAtMs > a.heardAtMs ? b : a))
    first.nextAtMs = nowMs + first.waitMs
    first.waitMs = Math.min(RETRY_MS_MAX, 2 * first.waitMs)
    return { host: first.host, port: first.port }
  }

  /** Forgets all but these devices. */
  keep(ids: ReadonlySet<string>): void {
    for (const id of this.#known.keys()) if (!ids.has(id)) this.#known.delete(id)
  }
}
