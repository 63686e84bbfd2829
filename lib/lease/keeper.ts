/**
 * This device's hand in the lease chains: signs, and has it durable before anybody is told.
 *
 * Invariants
 * - Of each entry this device signs one successor. Signing is one at a time for each parcel, on the chain that
 *   includes everything this device ever signed.
 * - An entry that was signed but could not be stored is never replaced by another one: it may have reached the
 *   disk after all. It is stored by the next attempt, and then counts.
 */
import type { Clock } from '../base/clock.ts'
import { systemClock } from '../base/clock.ts'
import { HyperparcelError } from '../base/errors.ts'
import type { KeyPair } from '../fleet/sign.ts'
import type { LeaseEntry } from '../format/lease.ts'
import type { ResumeDecision } from './decide.ts'
import { createLease, grantLease, mayResume, releaseLease } from './decide.ts'
import { LeaseChain } from './chain.ts'
import { leaseHash } from './entry.ts'

/** Where lease entries are kept: the registry, seen from here. */
export interface LeaseLog {
  /** All entries known of that parcel, in any order. */
  leaseEntries(parcel: Buffer): Iterable<LeaseEntry>
  /** Public key of the device that created it, or null where the parcel is not known. */
  creatorOf(parcel: Buffer): Buffer | null
  /** Durable when it resolves. */
  appendLease(entry: LeaseEntry): Promise<void>
}

export interface LeaseKeeperOptions {
  log: LeaseLog
  keys: KeyPair
  clock?: Clock
}

export class LeaseKeeper {
  readonly #log: LeaseLog
  readonly #keys: KeyPair
  readonly #clock: Clock
  /** The last step of each parcel, so that steps of one parcel follow one another. */
  readonly #steps = new Map<string, Promise<unknown>>()
  readonly #unstored = new Map<string, LeaseEntry>()
  readonly #chains = new Map<string, LeaseChain>()

  constructor(opts: LeaseKeeperOptions) {
    this.#log = opts.log
    this.#keys = opts.keys
    this.#clock = opts.clock ?? systemClock
  }

  /** The chain as known here; the same object until the program ends. Throws `PARCEL_NOT_FOUND` for an unknown parcel. */
  chain(parcel: Buffer): LeaseChain {
    const creator = this.#log.creatorOf(parcel)
    if (creator === null) {
      throw new HyperparcelError('PARCEL_NOT_FOUND', 'That parcel is not known here')
    }
    const id = parcel.toString('hex')
    let chain = this.#chains.get(id)
    if (chain === undefined || !chain.creator.equals(creator)) {
      chain = new LeaseChain({ parcel, creator })
      this.#chains.set(id, chain)
    }
    for (const entry of this.#log.leaseEntries(parcel)) chain.add(entry)
    return chain
  }

  mayResume(parcel: Buffer): ResumeDecision {
    return mayResume(this.chain(parcel), this.#keys.publicKey)
  }

  /** The first entry, for a parcel that this device creates. Its parcel record must be appended before. */
  create(parcel: Buffer, version: Buffer | null, voters?: Buffer[]): Promise<LeaseEntry> {
    return this.#step(parcel, (chain) => {
      if (chain.head !== null) return chain.head.entry
      return createLease(this.#keys, parcel, this.#terms(version), voters)
    })
  }

  /**
   * Durable before it resolves: then it may be sent. Rejects with `LEASE_SUPERSEDED`, and with what `check` throws: it
   * is asked when the grant's turn comes. Whoever begins to use the parcel then waits for `settled`.
   */
  grant(
    parcel: Buffer,
    to: Buffer,
    version: Buffer | null,
    check: () => void = nothing
  ): Promise<LeaseEntry> {
    return this.#step(parcel, (chain) => {
      check()
      return grantLease(chain, this.#keys, to, this.#terms(version))
    })
  }

  /** Resolves when what this device has begun to sign for that parcel is in the chain, or has failed. */
  async settled(parcel: Buffer): Promise<void> {
    await this.#steps.get(parcel.toString('hex'))
  }

  /** Durable before it resolves. Rejects with `LEASE_SUPERSEDED`. */
  release(parcel: Buffer, version: Buffer | null, custodian?: Buffer): Promise<LeaseEntry> {
    return this.#step(parcel, (chain) =>
      releaseLease(chain, this.#keys, this.#terms(version), custodian)
    )
  }

  /** Takes a lease that this device keeps released. Rejects with `LEASE_SUPERSEDED`. */
  claim(parcel: Buffer): Promise<LeaseEntry> {
    return this.#step(parcel, (chain) => {
      const { head } = chain
      const version = head?.entry.body.version ?? null
      if (head !== null && !head.entry.body.released) {
        if (head.entry.body.holder.equals(this.#keys.publicKey)) return head.entry
      }
      return grantLease(chain, this.#keys, this.#keys.publicKey, this.#terms(version))
    })
  }

  /**
   * Keeps entries that another device sent (the end of its chain, oldest first), durably. True where the last
   * one counts, now or already.
   */
  async accept(parcel: Buffer, entries: LeaseEntry[]): Promise<boolean> {
    let counts = false
    for (const entry of entries) {
      await this.#step(parcel, (chain) => {
        const result = chain.add(entry)
        counts = result === 'added' || result === 'known'
        return counts ? entry : null
      })
    }
    return counts
  }

  #terms(version: Buffer | null): { version: Buffer | null; time: number } {
    return { version, time: this.#clock.now() }
  }

  #step<T extends LeaseEntry | null>(parcel: Buffer, decide: (chain: LeaseChain) => T): Promise<T> {
    const id = parcel.toString('hex')
    const before = this.#steps.get(id) ?? Promise.resolve()
    const step = before.then(async () => {
      const unstored = this.#unstored.get(id)
      if (unstored !== undefined) await this.#store(id, unstored)
      const chain = this.chain(parcel)
      const entry = decide(chain)
      if (entry !== null && !this.#isStored(parcel, entry)) await this.#store(id, entry)
      return entry
    })
    const settled = step.then(nothing, nothing)
    this.#steps.set(id, settled)
    void settled.then(() => {
      if (this.#steps.get(id) === settled) this.#steps.delete(id)
    })
    return step
  }

  #isStored(parcel: Buffer, entry: LeaseEntry): boolean {
    const hash = leaseHash(entry.body)
    for (const known of this.#log.leaseEntries(parcel)) {
      if (leaseHash(known.body).equals(hash)) return true
    }
    return false
  }

  async #store(id: string, entry: LeaseEntry): Promise<void> {
    this.#unstored.set(id, entry)
    await this.#log.appendLease(entry)
    this.#unstored.delete(id)
  }
}

function nothing(): void {}
