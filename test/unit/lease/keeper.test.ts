import test from 'brittle'
import { keyPair } from '../../../lib/fleet/index.ts'
import { LeaseKeeper } from '../../../lib/lease/index.ts'
import type { LeaseEntry, LeaseLog } from '../../../lib/lease/index.ts'

const home = keyPair()
const office = keyPair()
const lab = keyPair()
const parcel = Buffer.alloc(16, 1)

/** Entries as the registry of one device has them. A failed append may have reached the disk all the same. */
class Log implements LeaseLog {
  readonly entries: LeaseEntry[] = []
  failing = false
  appends = 0

  leaseEntries(): LeaseEntry[] {
    return this.entries
  }

  creatorOf(): Buffer {
    return home.publicKey
  }

  async appendLease(entry: LeaseEntry): Promise<void> {
    this.appends++
    await new Promise((resolve) => setTimeout(resolve, 2))
    if (this.failing) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' })
    this.entries.push(entry)
  }
}

test('two grants at once: one counts', async (t) => {
  const log = new Log()
  const keeper = new LeaseKeeper({ log, keys: home })
  await keeper.create(parcel, null)
  const results = await Promise.allSettled([
    keeper.grant(parcel, office.publicKey, null),
    keeper.grant(parcel, lab.publicKey, null)
  ])
  t.alike(
    results.map((result) => result.status),
    ['fulfilled', 'rejected']
  )
  t.alike(keeper.chain(parcel).holder, office.publicKey)
  t.is(keeper.chain(parcel).forks.length, 0)
})

test('a grant that could not be stored is never replaced by another', async (t) => {
  const log = new Log()
  const keeper = new LeaseKeeper({ log, keys: home })
  await keeper.create(parcel, null)
  log.failing = true
  await t.exception(keeper.grant(parcel, office.publicKey, null), /no space/)
  log.failing = false
  await t.exception(keeper.grant(parcel, lab.publicKey, null), /does not hold/)
  t.alike(keeper.chain(parcel).holder, office.publicKey, 'the first one was stored meanwhile')
  t.is(keeper.chain(parcel).forks.length, 0)
})

test('release, claim, create again', async (t) => {
  const log = new Log()
  const keeper = new LeaseKeeper({ log, keys: home })
  const first = await keeper.create(parcel, null)
  t.alike(await keeper.create(parcel, null), first, 'once')
  await keeper.release(parcel, null)
  const decision = keeper.mayResume(parcel)
  t.ok(decision.ok && decision.claim)
  await keeper.claim(parcel)
  t.is(keeper.chain(parcel).epoch, 3)
  const { appends } = log
  await keeper.claim(parcel)
  t.is(log.appends, appends, 'held already')
})

test('entries of others are kept when they count', async (t) => {
  const [there, here] = [new Log(), new Log()]
  const granting = new LeaseKeeper({ log: there, keys: home })
  const receiving = new LeaseKeeper({ log: here, keys: office })
  await granting.create(parcel, null)
  const grant = await granting.grant(parcel, office.publicKey, null)
  t.is(await receiving.accept(parcel, [grant]), false, 'its predecessor is not known')
  t.is(here.appends, 0)
  t.is(await receiving.accept(parcel, granting.chain(parcel).line()), true)
  t.is(here.entries.length, 2)
  t.ok(receiving.mayResume(parcel).ok)
  t.is(await receiving.accept(parcel, granting.chain(parcel).line()), true)
  t.is(here.entries.length, 2, 'each once')
  const forged = { body: { ...grant.body, holder: lab.publicKey }, signatures: grant.signatures }
  t.is(await receiving.accept(parcel, [forged]), false)
})

test('a grant is refused when its turn comes, and who waits sees what was granted', async (t) => {
  const log = new Log()
  const keeper = new LeaseKeeper({ log, keys: home })
  await keeper.create(parcel, null)
  let used = false
  const check = () => {
    if (used) throw Object.assign(new Error('in use'), { code: 'LEASE_HELD' })
  }
  // The use begins before the first grant's turn, and after the second one's.
  const late = keeper.grant(parcel, office.publicKey, null, check)
  used = true
  await t.exception(late, { code: 'LEASE_HELD' })
  t.ok(keeper.mayResume(parcel).ok)
  used = false
  const granted = keeper.grant(parcel, office.publicKey, null, check)
  await new Promise((resolve) => setImmediate(resolve))
  used = true
  t.ok(keeper.mayResume(parcel).ok, 'not stored yet')
  await keeper.settled(parcel)
  t.absent(keeper.mayResume(parcel).ok, 'a use that begins now asks the new holder')
  await granted
})
