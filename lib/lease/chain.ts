/**
 * The lease chain of one parcel, put together from entries in any order. Pure: the same set of entries gives the
 * same chain, whoever holds it and however they arrived.
 *
 * - An entry counts when its predecessor counts and the right device signed it; until the predecessor is known
 *   it is pending. Invalid ones are kept aside, with the reason.
 * - Two valid successors of one entry are a fork. Both stay. The head shown is found by following, at each
 *   fork, the successor with the lower hash: everybody who knows both sees the same head, and it does not jump
 *   as branches grow.
 * - A kind of change that this release cannot check (by majority, forced) blocks the entry it follows: nobody
 *   may act on that entry here any more, since it may have been superseded rightly.
 */
import type { LeaseEntry } from '../format/lease.ts'
import { isSignedBy, leaseHash, mergeSignatures } from './entry.ts'

export interface LeaseNode {
  readonly hash: Buffer
  readonly entry: LeaseEntry
  readonly predecessor: LeaseNode | null
}

export interface LeaseFork {
  /** The entry with more than one successor; null where there are two first entries. */
  predecessor: LeaseNode | null
  /** By hash, so the one on the way to the shown head comes first. */
  successors: LeaseNode[]
  /** Who signed more than one of them, which no device of ours does. */
  misbehaved: Buffer | null
}

export type AddResult = 'added' | 'known' | 'pending' | 'rejected' | 'unsupported'

export interface LeaseChainOptions {
  parcel: Buffer
  /** Public key of the device that created the parcel: it alone signs the first entry. */
  creator: Buffer
}

interface Node extends LeaseNode {
  entry: LeaseEntry
  readonly predecessor: Node | null
  readonly successors: Node[]
  blocked: boolean
}

export class LeaseChain {
  readonly parcel: Buffer
  readonly creator: Buffer
  readonly #nodes = new Map<string, Node>()
  readonly #roots: Node[] = []
  /** By the name of the entry that they wait for. */
  readonly #pending = new Map<string, Map<string, LeaseEntry>>()
  readonly #rejected = new Map<string, { entry: LeaseEntry; reason: string }>()
  readonly #unsupported = new Map<string, LeaseEntry>()

  constructor(opts: LeaseChainOptions) {
    this.parcel = opts.parcel
    this.creator = opts.creator
  }

  static from(entries: Iterable<LeaseEntry>, opts: LeaseChainOptions): LeaseChain {
    const chain = new LeaseChain(opts)
    for (const entry of entries) chain.add(entry)
    return chain
  }

  /** Takes an entry in, and whatever waited for it. */
  add(entry: LeaseEntry): AddResult {
    const result = this.#add(entry)
    if (result !== 'added') return result
    const added = [leaseHash(entry.body).toString('hex')]
    for (let id = added.pop(); id !== undefined; id = added.pop()) {
      const waiting = this.#pending.get(id)
      if (waiting === undefined) continue
      this.#pending.delete(id)
      for (const [successor, waited] of waiting) {
        if (this.#add(waited) === 'added') added.push(successor)
      }
    }
    return result
  }

  /** The newest entry on the shown line; null for an empty chain. */
  get head(): LeaseNode | null {
    return tip(this.#roots)
  }

  /** Who may write, or may grant a released lease. */
  get holder(): Buffer | null {
    return this.head?.entry.body.holder ?? null
  }

  /** 0 for an empty chain. */
  get epoch(): number {
    return this.head?.entry.body.epoch ?? 0
  }

  get released(): boolean {
    return this.head?.entry.body.released ?? false
  }

  /** Was an entry on the shown line followed by a change that this release cannot check? */
  get blocked(): boolean {
    for (let node = this.head as Node | null; node !== null; node = node.predecessor) {
      if (node.blocked) return true
    }
    return false
  }

  get size(): number {
    return this.#nodes.size
  }

  /** A valid entry by its name. */
  get(hash: Buffer): LeaseNode | null {
    return this.#nodes.get(hash.toString('hex')) ?? null
  }

  /** Is that entry on the shown line? */
  isOnLine(hash: Buffer): boolean {
    for (let node = this.head; node !== null; node = node.predecessor) {
      if (node.hash.equals(hash)) return true
    }
    return false
  }

  /** Entries of the shown line after `since` (all of them by default), oldest first: what another device may lack. */
  line(since: Buffer | null = null): LeaseEntry[] {
    const entries: LeaseEntry[] = []
    for (let node = this.head; node !== null; node = node.predecessor) {
      if (since !== null && node.hash.equals(since)) break
      entries.push(node.entry)
    }
    return entries.reverse()
  }

  /** The last entries of all branches, the shown head first. */
  get tips(): LeaseNode[] {
    const shown = this.head
    const all = [...this.#nodes.values()].filter((node) => node.successors.length === 0)
    return all.sort((a, b) => (a === shown ? -1 : b === shown ? 1 : a.hash.compare(b.hash)))
  }

  get forks(): LeaseFork[] {
    const forks: LeaseFork[] = []
    if (this.#roots.length > 1) {
      forks.push({ predecessor: null, successors: [...this.#roots], misbehaved: this.creator })
    }
    for (const node of this.#nodes.values()) {
      if (node.successors.length < 2) continue
      const { holder } = node.entry.body
      const signed = node.successors.filter((s) => isSignedBy(s.entry, holder))
      const misbehaved = signed.length > 1 ? holder : null
      forks.push({ predecessor: node, successors: [...node.successors], misbehaved })
    }
    return forks
  }

  /** Entries whose predecessor is not known here. */
  get pending(): LeaseEntry[] {
    return [...this.#pending.values()].flatMap((waiting) => [...waiting.values()])
  }

  get rejected(): { entry: LeaseEntry; reason: string }[] {
    return [...this.#rejected.values()]
  }

  /** Changes by rules that this release does not know. */
  get unsupported(): LeaseEntry[] {
    return [...this.#unsupported.values()]
  }

  #add(entry: LeaseEntry): AddResult {
    const hash = leaseHash(entry.body)
    const id = hash.toString('hex')
    const known = this.#nodes.get(id)
    if (known !== undefined) {
      if (!isSame(known.entry, entry)) known.entry = mergeSignatures(known.entry, entry)
      return 'known'
    }
    const { predecessor: before } = entry.body
    const predecessor = before === null ? null : this.#nodes.get(before.toString('hex'))
    if (predecessor === undefined) return this.#wait(before!.toString('hex'), id, entry)
    const fault = judge(entry, predecessor, this)
    if (fault === UNSUPPORTED) {
      this.#unsupported.set(id, entry)
      if (predecessor !== null) predecessor.blocked = true
      return 'unsupported'
    }
    if (fault !== null) {
      this.#rejected.set(id, { entry, reason: fault })
      return 'rejected'
    }
    // It may have come before, with a signature missing.
    this.#rejected.delete(id)
    const node: Node = { hash, entry, predecessor, successors: [], blocked: false }
    this.#nodes.set(id, node)
    const siblings = predecessor === null ? this.#roots : predecessor.successors
    siblings.push(node)
    siblings.sort((a, b) => a.hash.compare(b.hash))
    return 'added'
  }

  #wait(before: string, id: string, entry: LeaseEntry): AddResult {
    const waiting = this.#pending.get(before) ?? new Map<string, LeaseEntry>()
    const twin = waiting.get(id)
    waiting.set(id, twin === undefined ? entry : mergeSignatures(twin, entry))
    this.#pending.set(before, waiting)
    return 'pending'
  }
}

const UNSUPPORTED = 'it follows a rule of a later release'

function tip(roots: Node[]): Node | null {
  let node: Node | null = null
  for (let next: Node | undefined = roots[0]; next !== undefined; next = node.successors[0]) {
    node = next
  }
  return node
}

/** Null when the entry is valid, else why not. */
function judge(
  entry: LeaseEntry,
  predecessor: Node | null,
  chain: LeaseChainOptions
): string | null {
  const { body } = entry
  if (!body.parcel.equals(chain.parcel)) return 'it is about another parcel'
  if (body.epoch !== (predecessor?.entry.body.epoch ?? 0) + 1) return 'its epoch does not follow'
  switch (body.reason) {
    case 'create':
      if (predecessor !== null) return 'only the first entry creates'
      if (!body.holder.equals(chain.creator)) return 'it is not for the creator of the parcel'
      if (body.released) return 'a first entry holds the lease'
      return isSignedBy(entry, chain.creator) ? null : 'the creator did not sign it'
    case 'grant':
    case 'release':
      if (predecessor === null) return 'it has no predecessor'
      if (body.released !== (body.reason === 'release')) return 'its reason does not fit'
      if (!sameKeys(body.voters, predecessor.entry.body.voters)) return 'it changes the voters'
      return isSignedBy(entry, predecessor.entry.body.holder) ? null : 'the holder did not sign it'
    default:
      return predecessor === null ? 'it has no predecessor' : UNSUPPORTED
  }
}

/** Of one body: the same signatures. */
function isSame(a: LeaseEntry, b: LeaseEntry): boolean {
  return (
    a === b ||
    (a.signatures.length === b.signatures.length &&
      a.signatures.every((s, i) => s.signature.equals(b.signatures[i].signature)))
  )
}

function sameKeys(a: Buffer[], b: Buffer[]): boolean {
  return a.length === b.length && a.every((key, i) => key.equals(b[i]))
}
