/** Standing orders, and who held what: both outlive the daemon. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import test, { type Assert } from 'brittle'
import { OrderBook } from '../../../lib/daemon/orders/order-book.ts'
import { ReplicaBook } from '../../../lib/daemon/peers/replica-book.ts'

const parcel = Buffer.alloc(16, 1)
const office = Buffer.alloc(32, 2)
const [version, other] = ['aa'.repeat(32), 'bb'.repeat(32)]

test('an order lasts, and so does its end', async (t) => {
  const home = await temporary(t)
  const book = await loaded(home)
  let changes = 0
  book.on('change', () => changes++)
  t.ok(await book.give(parcel, 'follow', office, 5))
  t.ok(await book.give(parcel, 'follow', office, 5), 'repeated')
  t.is(changes, 1)
  t.is((await loaded(home)).active('follow', parcel).length, 1)
  t.is(book.active('push').length, 0)

  t.ok(await book.end(parcel, 'follow', office))
  t.absent(await book.end(parcel, 'follow', office))
  const after = await loaded(home)
  t.alike([after.active('follow').length, after.of('follow').length], [0, 1])
  t.absent(await after.give(parcel, 'follow', office, 5), 'whoever repeats it learns of its end')
  t.absent(await after.give(parcel, 'follow', office, 4), 'an older one too')
  t.ok(await after.give(parcel, 'follow', office, 6), 'a later one counts')
  t.ok(await after.end(parcel, 'follow', office))
  await after.renew(parcel, 'follow', office)
  t.is(after.active('follow').length, 1)

  await after.drop({ parcel, kind: 'follow', device: office, since: 1, ended: false })
  t.is(after.of('follow').length, 1, 'it was given anew meanwhile')
  await after.drop(after.of('follow')[0])
  t.is((await loaded(home)).of('follow').length, 0)
})

test('an unusable list of orders is not taken for an empty one', async (t) => {
  const home = await temporary(t)
  await writeFile(path.join(home, 'orders'), 'HPSO\u0007')
  await t.exception(loaded(home), /newer|not known here/)
})

test('who held a version is remembered until it says otherwise', async (t) => {
  const home = await temporary(t)
  const book = new ReplicaBook(home)
  await book.load()
  book.note(version, 'cc'.repeat(32), true)
  book.note(other, 'cc'.repeat(32), true)
  book.note(other, 'dd'.repeat(32), false)
  await book.close()
  const again = new ReplicaBook(home)
  await again.load()
  t.alike([...again.of(version).keys()], ['cc'.repeat(32)])
  t.is(again.of(other).size, 1)
  again.note(version, 'cc'.repeat(32), false)
  again.prune((of) => of !== other)
  t.alike([again.of(version).size, again.of(other).size], [0, 0])
  await again.close()
  const last = new ReplicaBook(home)
  await last.load()
  t.is(last.of(version).size, 0)

  await writeFile(path.join(home, 'replicas'), 'nonsense')
  const anew = new ReplicaBook(home)
  await anew.load()
  t.is(anew.of(version).size, 0)
})

async function loaded(home: string): Promise<OrderBook> {
  const book = new OrderBook(home)
  await book.load()
  return book
}

async function temporary(t: Assert): Promise<string> {
  const home = await mkdtemp(path.join(os.tmpdir(), 'hpo-'))
  t.teardown(() => rm(home, { recursive: true, force: true }))
  return home
}
