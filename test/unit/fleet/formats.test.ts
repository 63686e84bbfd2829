/**
 * Golden files of every format version, in `test/fixtures`: what was written once must decode and encode to the
 * same bytes for ever. `HYPERPARCEL_FIXTURES=write` writes those that are missing, for a new format.
 */
import test from 'brittle'
import type { Assert } from 'brittle'
import { readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import * as fc from 'fast-check'
import { keyPair } from '../../../lib/fleet/index.ts'
import { signRecord, verifyRecord, stored } from '../../../lib/fleet/records.ts'
import { createLease, isSignedBy } from '../../../lib/lease/index.ts'
import { decodeCard, encodeCard } from '../../../lib/format/device-card.ts'
import {
  decodeInvite,
  decodeInviteBook,
  decodeJoinAnswer,
  decodeJoinRequest,
  encodeInvite,
  encodeInviteBook,
  encodeJoinAnswer,
  encodeJoinRequest
} from '../../../lib/format/invite.ts'
import { CARD_FILE, DEVICE_KEY_FILE, FLEET_FILE } from '../../../lib/format/key-file.ts'
import { decodeLeaseEntry, encodeLeaseEntry } from '../../../lib/format/lease.ts'
import { ORDER_BOOK, REPLICA_BOOK } from '../../../lib/format/local-books.ts'
import { RECORD_KIND, decodeRecord, encodeRecord } from '../../../lib/format/registry.ts'
import {
  decodeContradiction,
  decodeHead,
  encodeContradiction,
  encodeHead,
  type SignedHead
} from '../../../lib/format/signed-head.ts'
import { decodeCacheState, encodeCacheState } from '../../../lib/format/cache-state.ts'
import { decodePinList, encodePinList } from '../../../lib/format/pin-list.ts'
import { samplePins } from '../../helpers/pin-list.ts'
import { decodePackHead, encodePackHead } from '../../../lib/format/pack.ts'
import { decodeReissuedMap, encodeReissuedMap } from '../../../lib/format/reissued-map.ts'
import type { RecordDraft, RecordKind } from '../../../lib/format/registry.ts'

const DIRECTORY = fileURLToPath(new URL('../../../../test/fixtures/format-1/', import.meta.url))

const author = keyPair(Buffer.alloc(32, 1))
const fleet = fill(32, 2)
const parcel = fill(16, 3)
const TIME = Date.UTC(2026, 0, 2, 3, 4, 5, 678)

function fill(count: number, value: number): Buffer {
  return Buffer.alloc(count, value)
}

const lease = createLease(author, parcel, { version: null, time: TIME }, [author.publicKey])

const drafts: { [K in RecordKind]: RecordDraft & { kind: K } } = {
  genesis: {
    kind: 'genesis',
    body: { name: 'home', recoveryKey: fill(32, 4), nonce: fill(16, 5) }
  },
  'key-epoch': {
    kind: 'key-epoch',
    body: {
      epoch: 2,
      boxes: [fill(80, 6), fill(80, 7)],
      previous: fill(72, 8),
      dedup: fill(72, 9)
    }
  },
  device: { kind: 'device', body: { publicKey: fill(32, 10), name: 'büro', role: 'device' } },
  'device-removed': {
    kind: 'device-removed',
    body: {
      publicKey: fill(32, 10),
      logs: [{ log: fill(32, 11), length: 70_000, treeHash: fill(32, 12) }]
    }
  },
  parcel: {
    kind: 'parcel',
    body: { parcel, name: 'desk', keyEpoch: 1, wrappedKey: fill(72, 13) }
  },
  'parcel-name': { kind: 'parcel-name', body: { parcel, name: 'table' } },
  'parcel-removed': { kind: 'parcel-removed', body: { parcel } },
  log: { kind: 'log', body: { parcel, log: fill(32, 14) } },
  version: {
    kind: 'version',
    body: {
      parcel,
      version: fill(32, 15),
      number: 300,
      parent: fill(32, 16),
      lease: fill(32, 17),
      log: fill(32, 14),
      block: 5_000_000_000,
      message: 'before the update',
      bytesNew: 1234,
      bytesTotal: 2 ** 40,
      hasMemory: true,
      branch: '300@home'
    }
  },
  lease: { kind: 'lease', body: { entry: encodeLeaseEntry(lease) } },
  annex: {
    kind: 'annex',
    body: {
      parcel,
      version: fill(32, 15),
      purpose: 1,
      serial: 2,
      log: fill(32, 14),
      block: 70_000
    }
  },
  'parcel-compression': { kind: 'parcel-compression', body: { parcel, level: 9 } }
}

const head: SignedHead = {
  log: fill(32, 39),
  length: 7,
  at: 5,
  roots: [
    { index: 3, size: 240_000, hash: fill(32, 40) },
    { index: 8, size: 60_000, hash: fill(32, 41) }
  ],
  more: [
    { index: 10, size: 60_000, hash: fill(32, 42) },
    { index: 12, size: 60_000, hash: fill(32, 43) }
  ],
  signature: fill(67, 44)
}

/** File name → what makes it, and what reads and writes it again. */
const documents: Record<string, { make: () => Buffer; again: (data: Buffer) => Buffer }> = {
  'pack-head': {
    make: () =>
      encodePackHead({
        version: fill(32, 40),
        volumes: [
          { name: 'disk0', root: fill(32, 41) },
          { name: 'memory', root: null }
        ],
        runs: [
          { volume: 0, first: 70_000, count: 3 },
          { volume: 1, first: 5, count: 20 }
        ],
        answered: 17,
        zeros: [{ volume: 1, first: 4096, count: 1024 }]
      }),
    again: (data) => encodePackHead(decodePackHead(data))
  },
  'reissued-map': {
    make: () =>
      encodeReissuedMap({
        version: fill(32, 15),
        logs: [
          { key: fill(32, 14), length: 300, treeHash: fill(32, 45) },
          { key: fill(32, 46), length: 70_000, treeHash: fill(32, 47) }
        ],
        volumes: [
          { name: 'disk0', root: { log: 1, block: 69_999, slot: 3, hash: fill(32, 48) } },
          { name: 'memory', root: null }
        ]
      }),
    again: (data) => encodeReissuedMap(decodeReissuedMap(data))
  },
  'device-card': {
    make: () =>
      encodeCard({
        publicKey: author.publicKey,
        name: 'home',
        counter: TIME,
        log: fill(32, 18),
        signature: fill(64, 19)
      }),
    again: (data) => encodeCard(decodeCard(data))
  },
  'lease-entry': {
    make: () => encodeLeaseEntry(lease),
    again: (data) => encodeLeaseEntry(decodeLeaseEntry(data))
  },
  invite: {
    make: () =>
      encodeInvite({
        role: 'device',
        expires: 1_800_000_000,
        seed: fill(32, 20),
        bootstrap: ['10.0.0.1:49737'],
        checksum: fill(4, 21)
      }),
    again: (data) => encodeInvite(decodeInvite(data))
  },
  'invite-book': {
    make: () =>
      encodeInviteBook({
        invites: [{ invite: fill(40, 22), usedBy: fill(32, 23), cancelled: false }]
      }),
    again: (data) => encodeInviteBook(decodeInviteBook(data))
  },
  'join-request': {
    make: () =>
      encodeJoinRequest({
        publicKey: author.publicKey,
        name: 'office',
        role: 'cache',
        nonce: fill(16, 24),
        signature: fill(64, 25)
      }),
    again: (data) => encodeJoinRequest(decodeJoinRequest(data))
  },
  'join-answer': {
    make: () =>
      encodeJoinAnswer({
        fleet,
        name: 'office',
        role: 'device',
        keys: { epoch: 1, fleetKey: fill(32, 26), dedupKey: fill(32, 27) },
        topic: fill(32, 28),
        card: fill(180, 29)
      }),
    again: (data) => encodeJoinAnswer(decodeJoinAnswer(data))
  },
  'device-key': {
    make: () =>
      DEVICE_KEY_FILE.encode({
        protection: 'none',
        parameters: Buffer.alloc(0),
        seed: fill(32, 30)
      }),
    again: (data) => DEVICE_KEY_FILE.encode(DEVICE_KEY_FILE.decode(data))
  },
  'fleet-key': {
    make: () =>
      FLEET_FILE.encode({
        fleet,
        name: 'home',
        role: 'device',
        topic: fill(32, 31),
        dedupKey: fill(32, 32),
        fleetKeys: [{ epoch: 1, key: fill(32, 33) }],
        sponsor: null,
        records: [fill(100, 34)]
      }),
    again: (data) => FLEET_FILE.encode(FLEET_FILE.decode(data))
  },
  'signed-head': {
    make: () => encodeHead(head),
    again: (data) => encodeHead(decodeHead(data))
  },
  contradiction: {
    make: () =>
      encodeContradiction({
        device: fill(32, 37),
        seen: TIME,
        first: encodeHead(head),
        second: encodeHead({ ...head, length: 6, signature: fill(64, 38) })
      }),
    again: (data) => encodeContradiction(decodeContradiction(data))
  },
  orders: {
    make: () =>
      ORDER_BOOK.encode({
        orders: [
          { parcel, kind: 'follow', device: fill(32, 40), since: TIME, ended: false },
          { parcel, kind: 'push', device: fill(32, 41), since: TIME + 1, ended: true }
        ]
      }),
    again: (data) => ORDER_BOOK.encode(ORDER_BOOK.decode(data))
  },
  replicas: {
    make: () =>
      REPLICA_BOOK.encode({
        holdings: [{ version: fill(32, 42), device: fill(32, 43), time: TIME }]
      }),
    again: (data) => REPLICA_BOOK.encode(REPLICA_BOOK.decode(data))
  },
  'pin-list': {
    make: () => encodePinList(samplePins()),
    again: (data) => encodePinList(decodePinList(data))
  },
  'cache-state': {
    make: () =>
      encodeCacheState({
        quotaBytes: 20 * 1024 ** 3,
        logs: [fill(32, 50)],
        uses: [{ log: 0, range: 300, time: 1_800_000_000 }]
      }),
    again: (data) => encodeCacheState(decodeCacheState(data))
  },
  cards: {
    make: () => CARD_FILE.encode({ cards: [fill(100, 35)], formerLogs: [fill(32, 36)] }),
    again: (data) => CARD_FILE.encode(CARD_FILE.decode(data))
  }
}
for (const kind of Object.keys(drafts) as RecordKind[]) {
  documents[`record-${kind}`] = {
    make: () => signRecord(fleet, author, TIME, drafts[kind]).bytes,
    again: (data) => {
      const record = decodeRecord(data)
      // Of a kind that is not known here: passed over.
      return record === null ? data : encodeRecord(record)
    }
  }
}

async function golden(t: Assert, name: string, made: Buffer): Promise<Buffer> {
  const file = `${DIRECTORY}${name}.hex`
  if (process.env['HYPERPARCEL_FIXTURES'] === 'write') {
    const lines = made.toString('hex').match(/.{1,64}/g)!
    await writeFile(file, lines.join('\n') + '\n', { flag: 'wx' }).catch((err: unknown) =>
      t.comment(String(err))
    )
  }
  return Buffer.from((await readFile(file, 'utf8')).replace(/\s/g, ''), 'hex')
}

for (const [name, { make, again }] of Object.entries(documents)) {
  test(`golden ${name}`, async (t) => {
    const made = make()
    const data = await golden(t, name, made)
    t.alike(made.toString('hex'), data.toString('hex'), 'is written as ever')
    t.alike(again(data).toString('hex'), data.toString('hex'), 'decodes and encodes to itself')
  })

  test(`damaged ${name}`, async (t) => {
    const data = make()
    const newer = Buffer.from(data)
    newer[4]++
    await t.exception(async () => again(newer), /not known here/)
    const unlike = Buffer.from(data)
    unlike[0] ^= 1
    await t.exception(async () => again(unlike), /This is not/)
    await t.exception(async () => again(Buffer.concat([data, Buffer.alloc(1)])))
    await t.exception(async () => again(Buffer.concat([data, Buffer.alloc(2 ** 22)])), /too much/)
    // Cut or changed anywhere, it is refused as a format, or stands for exactly its own bytes.
    fc.assert(
      fc.property(fc.nat(data.byteLength - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = Buffer.from(data)
        changed[at] ^= flip
        return refusedOrItself(again, changed) && refused(again, data.subarray(0, at))
      }),
      { numRuns: 300 }
    )
  })
}

function refusedOrItself(again: (data: Buffer) => Buffer, data: Buffer): boolean {
  try {
    return again(data).equals(data)
  } catch (err) {
    return isFormatError(err)
  }
}

function refused(again: (data: Buffer) => Buffer, data: Buffer): boolean {
  try {
    again(data)
    return false
  } catch (err) {
    return isFormatError(err)
  }
}

function isFormatError(err: unknown): boolean {
  return ['FORMAT_INVALID', 'FORMAT_TOO_NEW'].includes((err as { code: string }).code)
}

test('records: any change breaks the signature, another fleet too', (t) => {
  const signed = signRecord(fleet, author, TIME, drafts.version)
  t.ok(verifyRecord(fleet, signed))
  t.absent(verifyRecord(fill(32, 99), signed))
  for (let at = 0; at < signed.bytes.byteLength; at++) {
    const changed = Buffer.from(signed.bytes)
    changed[at] ^= 1
    try {
      const record = decodeRecord(changed)
      if (record !== null && verifyRecord(fleet, stored(record))) t.fail(`byte ${at}`)
    } catch (err) {
      if (!isFormatError(err)) t.fail(String(err))
    }
  }
})

test('records of a later kind are passed over', (t) => {
  const data = Buffer.from(signRecord(fleet, author, TIME, drafts.log).bytes)
  data[5] = Math.max(...Object.values(RECORD_KIND)) + 1
  t.is(decodeRecord(data), null)
})

test('golden lease entries verify', async (t) => {
  const data = await golden(t, 'lease-entry', encodeLeaseEntry(lease))
  t.ok(isSignedBy(decodeLeaseEntry(data), author.publicKey))
})
