/**
 * Who may connect: fleet devices; while pairing is open also a few unknown candidates, for pairing alone;
 * nobody else, and for a while no device that sent what no honest one sends.
 */
import type { Clock } from '../base/clock.ts'

export type Role = 'member' | 'candidate' | 'stranger'

const CANDIDATES_MAX = 8
/** After the first offence; doubles with each. */
const SHUNNED_MS = 30_000
const SHUNNED_MS_MAX = 3_600_000

export interface AdmissionOptions {
  isMember(publicKey: Buffer): boolean
  pairingOpen(): boolean
  clock: Clock
}

export class Admission {
  readonly #opts: AdmissionOptions
  readonly #offences = new Map<string, { count: number; untilMs: number }>()
  /** Connections of candidates. */
  candidates = 0

  constructor(opts: AdmissionOptions) {
    this.#opts = opts
  }

  /** @param hasInvite it proved to know one, perhaps a used one: then it may hear that, whoever else is let in */
  roleOf(publicKey: Buffer, hasInvite = false): Role {
    if (this.#opts.isMember(publicKey)) return this.shunned(publicKey) ? 'stranger' : 'member'
    const isOpen = hasInvite || this.#opts.pairingOpen()
    return isOpen && this.candidates < CANDIDATES_MAX ? 'candidate' : 'stranger'
  }

  shunned(publicKey: Buffer): boolean {
    const offence = this.#offences.get(publicKey.toString('hex'))
    return offence !== undefined && this.#opts.clock.monotonic() < offence.untilMs
  }

  /** It sent what no honest device sends. */
  punish(publicKey: Buffer): void {
    const id = publicKey.toString('hex')
    const count = (this.#offences.get(id)?.count ?? 0) + 1
    const ms = Math.min(SHUNNED_MS_MAX, SHUNNED_MS * 2 ** (count - 1))
    this.#offences.set(id, { count, untilMs: this.#opts.clock.monotonic() + ms })
  }
}
