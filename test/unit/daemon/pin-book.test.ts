import path from 'node:path'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import test from 'brittle'
import type { Assert } from 'brittle'
import { PinBook } from '../../../lib/daemon/cache/pin-book.ts'
import { keyPair, type KeyPair } from '../../../lib/fleet/index.ts'
import { signPinList } from '../../../lib/fleet/pin-list.ts'
import type { PinList } from '../../../lib/format/pin-list.ts'

const fleet = Buffer.alloc(32, 9)
const home = keyPair(Buffer.alloc(32, 1))
const office = keyPair(Buffer.alloc(32, 2))
const stranger = keyPair(Buffer.alloc(32, 3))

function list(device: KeyPair, counter: number, more: Partial<PinList> = {}): Buffer {
  const members = [{ publicKey: device.publicKey, removed: false }]
  const topic = Buffer.alloc(32, counter)
  return signPinList(device, { fleet, counter, topic, members, logs: [], entries: [], ...more })
}

async function open(t: Assert): Promise<{ book: PinBook; again(): Promise<PinBook> }> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'hp-pins-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const again = async () => {
    const book = new PinBook({ fleet, sponsor: home.publicKey, directory })
    await book.load()
    return book
  }
  return { book: await again(), again }
}

function naming(...members: [KeyPair, boolean][]): Partial<PinList> {
  return { members: members.map(([{ publicKey }, removed]) => ({ publicKey, removed })) }
}

test('only lists of devices that belong count, and who these name', async (t) => {
  const { book, again } = await open(t)
  await t.exception(book.add(list(office, 1)), /not of a device/)
  await book.add(list(home, 1, naming([home, false], [office, false])))
  t.ok(book.isMember(office.publicKey))
  await book.add(list(office, 5))
  await t.exception(book.add(list(stranger, 1)), /not of a device/)
  const changed = list(home, 9)
  changed[100] ^= 1
  await t.exception(book.add(changed))
  t.alike((await again()).members(), book.members(), 'as it rests')
  t.is(book.topic?.[0], 5, 'of the newest list')
})

test('who was removed belongs no more, and what it listed goes', async (t) => {
  const { book } = await open(t)
  const entry = {
    version: Buffer.alloc(32, 4),
    parcel: Buffer.alloc(16, 5),
    time: 1,
    bytes: 10,
    annex: null,
    runs: [{ log: 0, start: 0, count: 2 }]
  }
  await book.add(list(home, 1, naming([home, false], [office, false])))
  await book.add(list(office, 1, { logs: [Buffer.alloc(32, 6)], entries: [entry] }))
  t.is(book.versions().length, 1)
  await book.add(list(home, 2, naming([home, false], [office, true])))
  t.absent(book.isMember(office.publicKey))
  t.is(book.versions().length, 0)
  t.is(book.logs().size, 0)
  await t.exception(book.add(list(office, 7)), /not of a device/)
})

test('an older list is no news', async (t) => {
  const { book } = await open(t)
  t.alike(await book.add(list(home, 7)), { counter: 7, isNew: true })
  t.alike(await book.add(list(home, 6)), { counter: 7, isNew: false })
  t.alike(await book.add(list(home, 7)), { counter: 7, isNew: false })
})
