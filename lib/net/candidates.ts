/** Connections of those who are no devices yet, for pairing alone: few, and each for a limited time. */
import type { Connection } from 'hyperswarm'
import type { Admission } from './admission.ts'
import type { LinkKind } from './counters.ts'

/** Who did not become a device by then is disconnected. */
const CANDIDATE_MS = 60_000

export class Candidates {
  readonly #admission: Admission
  readonly #ms: number
  readonly #connections = new Map<Connection, { timer: NodeJS.Timeout; kind: LinkKind }>()

  constructor(admission: Admission, ms = CANDIDATE_MS) {
    this.#admission = admission
    this.#ms = ms
  }

  add(connection: Connection, kind: LinkKind): void {
    this.#admission.candidates++
    const timer = setTimeout(() => connection.destroy(), this.#ms).unref()
    this.#connections.set(connection, { timer, kind })
    connection.on('close', () => this.#drop(connection))
  }

  has(publicKey: Buffer): boolean {
    for (const { remotePublicKey } of this.#connections.keys()) {
      if (remotePublicKey.equals(publicKey)) return true
    }
    return false
  }

  /** Those who are members by now; they are no candidates any more. */
  promote(): [Connection, LinkKind][] {
    const promoted: [Connection, LinkKind][] = []
    for (const [connection, { kind }] of this.#connections) {
      if (this.#admission.roleOf(connection.remotePublicKey) !== 'member') continue
      this.#drop(connection)
      promoted.push([connection, kind])
    }
    return promoted
  }

  /** Hyperswarm ends its own. */
  close(): void {
    for (const [connection, { timer, kind }] of this.#connections) {
      clearTimeout(timer)
      if (kind === 'lan') connection.destroy()
    }
  }

  #drop(connection: Connection): void {
    const candidate = this.#connections.get(connection)
    if (candidate === undefined) return
    clearTimeout(candidate.timer)
    this.#connections.delete(connection)
    this.#admission.candidates--
  }
}
