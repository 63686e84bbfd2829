import test from 'brittle'
import * as fc from 'fast-check'
import { FleetView, keyPair } from '../../../lib/fleet/index.ts'
import type { KeyPair } from '../../../lib/fleet/index.ts'
import { fleetIdOf, signRecord } from '../../../lib/fleet/records.ts'
import type { StoredRecord } from '../../../lib/fleet/records.ts'
import type { RecordDraft } from '../../../lib/format/registry.ts'

const [home, office, lab, cache, stranger] = [1, 2, 3, 4, 5].map((n) => keyPair(fill(32, n)))
const genesis = { name: 'home', recoveryKey: fill(32, 6), nonce: fill(16, 7) }
const fleet = fleetIdOf(home.publicKey, genesis)

function fill(count: number, value: number): Buffer {
  return Buffer.alloc(count, value)
}

function by(author: KeyPair, time: number, draft: RecordDraft): StoredRecord {
  return signRecord(fleet, author, time, draft)
}

function admit(author: KeyPair, who: KeyPair, name: string, role: 'device' | 'cache', time = 1) {
  return by(author, time, { kind: 'device', body: { publicKey: who.publicKey, name, role } })
}

function parcelRecord(author: KeyPair, id: number, name: string, time: number): StoredRecord {
  const body = { parcel: fill(16, id), name, keyEpoch: 1, wrappedKey: fill(72, id) }
  return by(author, time, { kind: 'parcel', body })
}

function versionRecord(author: KeyPair, id: number, log: number, time: number): StoredRecord {
  const [version, lease] = [fill(32, id), fill(32, 1)]
  const rest = { bytesNew: 1, bytesTotal: 2, hasMemory: false, branch: null, message: '' }
  const body = { parcel: fill(16, 1), version, number: id, parent: null, lease, block: 0, ...rest }
  return by(author, time, { kind: 'version', body: { ...body, log: fill(32, log) } })
}

const records: StoredRecord[] = [
  by(home, 1, { kind: 'genesis', body: genesis }),
  admit(home, office, 'office', 'device'),
  admit(office, lab, 'lab', 'device'),
  admit(lab, cache, 'closet', 'cache'),
  admit(home, cache, 'attic', 'cache', 9),
  // Twice one name; a rename of which the later counts; one that goes.
  parcelRecord(lab, 1, 'desk', 10),
  parcelRecord(office, 2, 'desk', 11),
  parcelRecord(home, 3, 'bench', 12),
  by(lab, 13, { kind: 'parcel-name', body: { parcel: fill(16, 3), name: 'bank' } }),
  by(home, 14, { kind: 'parcel-name', body: { parcel: fill(16, 3), name: 'desk' } }),
  parcelRecord(home, 4, 'gone', 15),
  by(office, 16, { kind: 'parcel-removed', body: { parcel: fill(16, 4) } }),
  // Two claims to one log; a version announced again by its author, and by somebody else.
  by(lab, 20, { kind: 'log', body: { parcel: fill(16, 1), log: fill(32, 20) } }),
  by(office, 21, { kind: 'log', body: { parcel: fill(16, 2), log: fill(32, 20) } }),
  versionRecord(lab, 1, 20, 30),
  versionRecord(lab, 1, 21, 31),
  versionRecord(lab, 2, 20, 32),
  by(home, 40, { kind: 'device-removed', body: { publicKey: lab.publicKey, logs: [] } })
]
const ignored = [
  admit(stranger, stranger, 'mallory', 'device'),
  parcelRecord(stranger, 8, 'trap', 1),
  parcelRecord(cache, 9, 'trap', 1),
  by(stranger, 1, { kind: 'genesis', body: genesis })
]

function viewOf(all: StoredRecord[]): FleetView {
  const view = new FleetView(fleet, [])
  for (const record of all) view.add(record)
  return view
}

function summary(view: FleetView): unknown {
  const { members, parcels } = view
  return JSON.parse(
    JSON.stringify([
      members.list(),
      parcels.list(),
      [1, 2, 3].map((id) => parcels.logsOf(fill(16, id))),
      parcels.versions(fill(16, 1)),
      members.recoveryKey
    ])
  )
}

test('what the records say', (t) => {
  const view = viewOf([...records, ...ignored])
  t.alike(
    view.members.list().map(({ name, role, removed }) => [name, role, removed]),
    [
      ['attic', 'cache', false],
      ['home', 'device', false],
      ['lab', 'device', true],
      ['office', 'device', false]
    ]
  )
  t.alike(
    view.parcels.list().map(({ name, id }) => [name, id[0]]),
    [
      ['desk', 1],
      ['desk@home', 3],
      ['desk@office', 2]
    ]
  )
  t.is(view.waiting, 4)
  t.absent(view.members.admits(lab.publicKey), 'removed')
  t.ok(view.members.admits(cache.publicKey))
  t.absent(view.members.admits(stranger.publicKey))
  t.alike(view.parcels.log(fill(32, 20))?.device, lab.publicKey, 'the earlier claim')
  const [first, second] = view.parcels.versions(fill(16, 1))
  t.alike(first.log, fill(32, 21), 'announced anew')
  t.is(second.number, 2)
})

test('any order and any repeats give the same view', (t) => {
  const all = [...records, ...ignored]
  const expected = summary(viewOf(all))
  fc.assert(
    fc.property(
      fc.shuffledSubarray([...all.keys()], { minLength: all.length }),
      fc.array(fc.nat(all.length - 1), { maxLength: 20 }),
      (order, again) => {
        const view = viewOf([...again, ...order].map((i) => all[i]))
        t.alike(summary(view), expected)
      }
    ),
    { numRuns: 50 }
  )
})
