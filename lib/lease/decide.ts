/** Decisions over a lease chain: plain data in, plain data out. `keeper.ts` makes them durable. */
import { HyperparcelError } from '../base/errors.ts'
import type { KeyPair } from '../fleet/sign.ts'
import type { LeaseBody, LeaseEntry } from '../format/lease.ts'
import type { LeaseChain, LeaseNode } from './chain.ts'
import { signLease, sortedKeys } from './entry.ts'

/**
 * How a refused device can go on.
 * `handoff`: the holder may run the parcel; ask it to suspend, or to grant.
 * `request`: the lease is free; ask `holder`, which keeps it, to grant.
 * `branch`: this device wrote under an entry that lost a fork; its work stays as a branch.
 * `update`: the lease changed by rules that this release does not know.
 * `wait`: no entry has arrived here yet.
 */
export type LeaseWay = 'handoff' | 'request' | 'branch' | 'update' | 'wait'

export type ResumeDecision =
  | {
      ok: true
      /** The entry to write under. */
      entry: Buffer
      epoch: number
      /** The version that the entry starts from. */
      version: Buffer | null
      /** The lease was released and this device keeps it: grant it to oneself first. */
      claim: boolean
    }
  | { ok: false; way: LeaseWay; holder: Buffer | null; epoch: number }

/** May that device write the parcel? For every set of entries, at most one device gets a yes. */
export function mayResume(chain: LeaseChain, self: Buffer): ResumeDecision {
  const head = chain.head
  if (head === null) return { ok: false, way: 'wait', holder: null, epoch: 0 }
  const { holder, released, epoch, version } = head.entry.body
  if (chain.blocked) return { ok: false, way: 'update', holder, epoch }
  if (holder.equals(self)) {
    return { ok: true, entry: head.hash, epoch, version, claim: released }
  }
  const lost = chain.tips.some((tip) => tip !== head && tip.entry.body.holder.equals(self))
  if (lost) return { ok: false, way: 'branch', holder, epoch }
  return { ok: false, way: released ? 'request' : 'handoff', holder, epoch }
}

/** May that device go on writing under an entry that it got earlier? */
export function mayWrite(chain: LeaseChain, self: Buffer, entry: Buffer): boolean {
  const decision = mayResume(chain, self)
  return decision.ok && !decision.claim && decision.entry.equals(entry)
}

/** A refusal as the user sees it: exit code 4, or 7 for a fork. */
export function leaseRefusal(
  decision: ResumeDecision & { ok: false },
  parcel: string,
  holderName: string,
  selfName: string
): HyperparcelError {
  const context = { parcel, holder: holderName, epoch: decision.epoch }
  switch (decision.way) {
    case 'handoff':
      return new HyperparcelError('LEASE_HELD', `${holderName} holds the lease of ${parcel}`, {
        hint: `Suspend it there: \`hyperparcel suspend ${parcel} --to ${selfName}\`. Or take it over from here, while ${holderName} is online: \`hyperparcel resume ${parcel} --handoff\`.`,
        context
      })
    case 'request':
      return new HyperparcelError('LEASE_HELD', `${holderName} keeps the free lease of ${parcel}`, {
        hint: `Connect to ${holderName}: it grants the lease to the first device that asks.`,
        context
      })
    case 'branch':
      return new HyperparcelError('FORK', `${parcel} was continued on ${holderName} meanwhile`, {
        hint: `What was done here stays as a branch: see \`hyperparcel log ${parcel}\`.`,
        context
      })
    case 'update':
      return new HyperparcelError('LEASE_HELD', `The lease of ${parcel} changed in a newer way`, {
        hint: 'Update Hyperparcel on this device.',
        context
      })
    case 'wait':
      return new HyperparcelError('LEASE_HELD', `The lease of ${parcel} is not known here yet`, {
        hint: 'Connect to another device of the fleet.',
        context: { parcel, epoch: 0 }
      })
  }
}

export interface LeaseTerms {
  /** Id of the version from which the next holder starts. */
  version: Buffer | null
  /** Milliseconds since the epoch, for people only. */
  time: number
}

/** The first entry of a parcel, by the device that creates it. */
export function createLease(
  keys: KeyPair,
  parcel: Buffer,
  terms: LeaseTerms,
  voters: Buffer[] = [keys.publicKey]
): LeaseEntry {
  return signLease(
    {
      predecessor: null,
      parcel,
      holder: keys.publicKey,
      released: false,
      epoch: 1,
      ...terms,
      voters: sortedKeys(voters),
      reason: 'create'
    },
    keys
  )
}

/**
 * The holder gives the lease to a device (to itself: claims a lease that it released).
 * Throws `LEASE_SUPERSEDED` where it does not hold it.
 */
export function grantLease(
  chain: LeaseChain,
  keys: KeyPair,
  to: Buffer,
  terms: LeaseTerms
): LeaseEntry {
  const head = held(chain, keys)
  return signLease({ ...next(head, terms), holder: to, released: false, reason: 'grant' }, keys)
}

/**
 * The holder stops writing and lets `custodian` (by default itself) grant the lease to the first asker.
 * Throws `LEASE_SUPERSEDED` where it does not hold it.
 */
export function releaseLease(
  chain: LeaseChain,
  keys: KeyPair,
  terms: LeaseTerms,
  custodian: Buffer = keys.publicKey
): LeaseEntry {
  const head = held(chain, keys)
  return signLease(
    { ...next(head, terms), holder: custodian, released: true, reason: 'release' },
    keys
  )
}

function held(chain: LeaseChain, keys: KeyPair): LeaseNode {
  const head = chain.head
  if (head !== null && !chain.blocked && head.entry.body.holder.equals(keys.publicKey)) return head
  throw new HyperparcelError('LEASE_SUPERSEDED', 'This device does not hold the lease any more')
}

function next(
  head: LeaseNode,
  terms: LeaseTerms
): Pick<LeaseBody, 'predecessor' | 'parcel' | 'epoch' | 'voters' | 'version' | 'time'> {
  const { parcel, epoch, voters } = head.entry.body
  return { predecessor: head.hash, parcel, epoch: epoch + 1, voters, ...terms }
}
