import test from 'brittle'
import * as fc from 'fast-check'
import { keyPair, randomBytes } from '../../../lib/fleet/index.ts'
import type { KeyPair } from '../../../lib/fleet/index.ts'
import {
  LeaseChain,
  createLease,
  decodeLeaseEntry,
  encodeLeaseEntry,
  grantLease,
  leaseHash,
  leaseRefusal,
  mayResume,
  mayWrite,
  releaseLease,
  signLease
} from '../../../lib/lease/index.ts'
import type { LeaseEntry } from '../../../lib/lease/index.ts'

const [home, office, lab] = [1, 2, 3].map((n) => keyPair(Buffer.alloc(32, n)))
const parcel = Buffer.alloc(16, 9)
const version = Buffer.alloc(32, 5)
const terms = { version, time: 1 }
const of = { parcel, creator: home.publicKey }

function chainOf(...entries: LeaseEntry[]): LeaseChain {
  return LeaseChain.from(entries, of)
}

test('create, grant, resume', async (t) => {
  const created = createLease(home, parcel, { version: null, time: 1 })
  const chain = chainOf(created)
  t.is(chain.epoch, 1)
  t.is(mayResume(chain, home.publicKey).ok, true)
  const granted = grantLease(chain, home, office.publicKey, terms)
  t.is(chain.add(granted), 'added')
  t.is(chain.epoch, 2)
  t.alike(chain.holder, office.publicKey)
  t.alike(mayResume(chain, office.publicKey), {
    ok: true,
    entry: leaseHash(granted.body),
    epoch: 2,
    version,
    claim: false
  })
  const refused = mayResume(chain, home.publicKey)
  t.alike(refused, { ok: false, way: 'handoff', holder: office.publicKey, epoch: 2 })
  if (!refused.ok) {
    const err = leaseRefusal(refused, 'desk', 'office', 'home')
    t.is(err.exitCode, 4)
    t.ok(err.message.includes('office'))
    t.ok(err.hint?.includes('--handoff'))
  }
  t.absent(mayWrite(chain, home.publicKey, leaseHash(created.body)))
  t.ok(mayWrite(chain, office.publicKey, leaseHash(granted.body)))
  await t.exception(() => grantLease(chain, home, lab.publicKey, terms), /does not hold/)
  t.alike(chain.line(leaseHash(created.body)), [granted])
})

test('release, then grant on request or claim', async (t) => {
  const chain = chainOf(createLease(home, parcel, terms))
  chain.add(releaseLease(chain, home, terms))
  t.ok(chain.released)
  const refused = mayResume(chain, office.publicKey)
  t.alike(refused, { ok: false, way: 'request', holder: home.publicKey, epoch: 2 })
  const own = mayResume(chain, home.publicKey)
  t.ok(own.ok && own.claim)
  t.absent(mayWrite(chain, home.publicKey, chain.head!.hash), 'not before it is claimed')
  await t.exception(() => grantLease(chain, office, office.publicKey, terms), /does not hold/)
  chain.add(grantLease(chain, home, office.publicKey, terms))
  t.ok(mayResume(chain, office.publicKey).ok)
  t.absent(mayResume(chain, home.publicKey).ok)
})

test('a release may leave the lease with somebody else', (t) => {
  const chain = chainOf(createLease(home, parcel, terms))
  chain.add(releaseLease(chain, home, terms, lab.publicKey))
  t.alike(chain.holder, lab.publicKey)
  t.absent(mayResume(chain, home.publicKey).ok)
  chain.add(grantLease(chain, lab, office.publicKey, terms))
  t.ok(mayResume(chain, office.publicKey).ok)
})

test('entries that do not count', (t) => {
  const created = createLease(home, parcel, terms)
  const chain = chainOf(created)
  const base = grantLease(chain, home, office.publicKey, terms).body
  const wrong: [string, LeaseEntry][] = [
    ['signed by another', signLease(base, office)],
    ['not signed', { body: base, signatures: [] }],
    ['wrong epoch', signLease({ ...base, epoch: 3 }, home)],
    ['another parcel', signLease({ ...base, parcel: randomBytes(16) }, home)],
    ['other voters', signLease({ ...base, voters: [office.publicKey] }, home)],
    ['a release that is none', signLease({ ...base, reason: 'release' }, home)],
    ['a grant that releases', signLease({ ...base, released: true }, home)],
    ['creation in the middle', signLease({ ...base, reason: 'create' }, home)],
    ['creation by another', createLease(office, parcel, terms)],
    ['a first grant', signLease({ ...base, predecessor: null, epoch: 1 }, home)]
  ]
  const moved = signLease(base, home).signatures
  wrong.push(['the signature of another entry', { body: { ...base, time: 2 }, signatures: moved }])
  for (const [why, entry] of wrong) t.is(chain.add(entry), 'rejected', why)
  t.is(chain.epoch, 1)
  t.is(chain.rejected.length, 10, 'one body came twice')
  t.is(chain.add(signLease(base, home)), 'added', 'the same body, signed rightly')
})

test('what this release cannot check blocks', async (t) => {
  for (const reason of ['take-back', 'break', 'forced', 'voters'] as const) {
    const chain = chainOf(createLease(home, parcel, terms))
    const { body } = grantLease(chain, home, office.publicKey, terms)
    t.is(chain.add(signLease({ ...body, reason }, office)), 'unsupported')
    t.ok(chain.blocked)
    const decision = mayResume(chain, home.publicKey)
    t.is(decision.ok ? '' : decision.way, 'update', reason)
    await t.exception(() => grantLease(chain, home, office.publicKey, terms), /does not hold/)
  }
})

test('a fork shows who made it, and one holder goes on', (t) => {
  const chain = chainOf(createLease(home, parcel, terms))
  const grants = [office, lab].map(({ publicKey }) => grantLease(chain, home, publicKey, terms))
  for (const grant of grants) chain.add(grant)
  t.is(chain.forks.length, 1)
  t.alike(chain.forks[0].misbehaved, home.publicKey)
  t.is(chain.tips.length, 2)
  t.alike(chain.tips[0].hash, chain.head!.hash)
  const decisions = [office, lab].map((device) => mayResume(chain, device.publicKey))
  t.is(decisions.filter((d) => d.ok).length, 1)
  const loser = decisions.find((d) => !d.ok)!
  t.is(loser.ok ? '' : loser.way, 'branch')
  if (!loser.ok) t.is(leaseRefusal(loser, 'desk', 'office', 'lab').exitCode, 7)
})

test('an encoded entry is the same entry; more signatures do not rename it', (t) => {
  const entry = createLease(home, parcel, terms, [lab.publicKey, home.publicKey, lab.publicKey])
  t.is(entry.body.voters.length, 2)
  t.alike(decodeLeaseEntry(encodeLeaseEntry(entry)), entry)
  const more = signLease(entry, office)
  t.alike(leaseHash(more.body), leaseHash(entry.body))
  const chain = chainOf(entry)
  t.is(chain.add(more), 'known')
  t.is(chain.head!.entry.signatures.length, 2)
  const forged = { signer: lab.publicKey, signature: randomBytes(64) }
  chain.add({ body: entry.body, signatures: [forged] })
  t.is(chain.head!.entry.signatures.length, 2, 'invalid signatures are not kept')
})

/** Grants by devices that may equivocate: any tree of entries. `picks` choose parent, next holder, kind. */
function tree(picks: [number, number, boolean][], devices: KeyPair[]): LeaseEntry[] {
  const entries = [createLease(devices[0], parcel, terms)]
  picks.forEach(([parent, next, release], i) => {
    const before = entries[parent % entries.length].body
    const signer = devices.find((device) => device.publicKey.equals(before.holder))!
    entries.push(
      signLease(
        {
          ...before,
          predecessor: leaseHash(before),
          holder: devices[next % devices.length].publicKey,
          released: release,
          reason: release ? 'release' : 'grant',
          epoch: before.epoch + 1,
          time: i
        },
        signer
      )
    )
  })
  return entries
}

const devices = [home, office, lab]
const picks = fc.array(fc.tuple(fc.nat(), fc.nat(), fc.boolean()), { maxLength: 12 })

test('the same entries in any order, with repeats, give the same chain', (t) => {
  fc.assert(
    fc.property(picks, fc.array(fc.nat(), { minLength: 30, maxLength: 30 }), (tree_, order) => {
      const entries = tree(tree_, devices)
      const shuffled = order.map((n) => entries[n % entries.length])
      const a = chainOf(...entries)
      const b = chainOf(...shuffled, ...[...entries].reverse())
      const summary = (chain: LeaseChain): unknown => [
        chain.size,
        chain.pending.length,
        chain.tips.map((tip) => tip.hash.toString('hex')),
        chain.forks.map((fork) => fork.successors.length).sort((x, y) => x - y)
      ]
      t.is(a.size, entries.length)
      return JSON.stringify(summary(a)) === JSON.stringify(summary(b))
    }),
    { numRuns: 60 }
  )
  t.pass()
})

test('no set of entries, whole or in part, lets two devices write', (t) => {
  fc.assert(
    fc.property(picks, fc.array(fc.boolean(), { maxLength: 13 }), (tree_, keep) => {
      const entries = tree(tree_, devices).filter((_, i) => keep[i] ?? true)
      const chain = chainOf(...entries)
      const may = devices.filter((device) => mayResume(chain, device.publicKey).ok)
      if (may.length > 1) return false
      // Every valid entry is still there: on the line or visible in a fork's branch.
      return chain.size + chain.pending.length === entries.length
    }),
    { numRuns: 100 }
  )
  t.pass()
})

test('honest devices that know different parts never write at once', (t) => {
  // Each knows what it signed, and whatever else chance brings; each acts only on what it knows.
  const steps = fc.array(fc.tuple(fc.nat(2), fc.nat(2), fc.nat(3)), {
    minLength: 20,
    maxLength: 60
  })
  let granted = 0
  fc.assert(
    fc.property(steps, (moves) => {
      const first = createLease(home, parcel, terms)
      const chains = devices.map(() => chainOf())
      chains[0].add(first)
      moves.forEach(([who, other, move], i) => {
        const [mine, theirs] = [chains[who], chains[other]]
        const keys = devices[who]
        const now = { version, time: i }
        if (move <= 1) {
          for (const node of theirs.line()) mine.add(node)
        } else if (mine.holder?.equals(keys.publicKey)) {
          const to = devices[other].publicKey
          const entry = move === 2 ? grantLease(mine, keys, to, now) : releaseLease(mine, keys, now)
          mine.add(entry)
          granted++
        }
      })
      const writers = devices.filter((device, i) => {
        const decision = mayResume(chains[i], device.publicKey)
        return decision.ok
      })
      const all = chainOf(...chains.flatMap((chain) => chain.line()))
      return writers.length <= 1 && all.forks.length === 0
    }),
    { numRuns: 100 }
  )
  t.ok(granted > 50, `${granted} changes of the lease`)
})

test('a long chain, newest first', (t) => {
  const chain = chainOf(createLease(home, parcel, terms))
  for (let i = 0; i < 2000; i++) {
    const [from, to] = i % 2 === 0 ? [home, office] : [office, home]
    chain.add(grantLease(chain, from, to.publicKey, { version, time: i }))
  }
  const started = performance.now()
  const again = chainOf(...chain.line().reverse())
  t.comment(`2001 entries in ${Math.round(performance.now() - started)} ms`)
  t.is(again.epoch, 2001)
  t.is(again.pending.length, 0)
})
