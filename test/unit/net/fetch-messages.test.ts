import { randomBytes } from 'node:crypto'
import test from 'brittle'
import { BLOCK_BYTES_MAX } from '../../../lib/base/limits.ts'
import { FETCH_MESSAGES, type Have, type Proof } from '../../../lib/format/fetch.ts'
import { CALL_MESSAGES } from '../../../lib/format/call.ts'
import { decodeWith, encodeWith } from '../../../lib/format/fields.ts'

const log = Buffer.alloc(32, 0xaa)
const hash = Buffer.alloc(32, 0xbb)
const node = { index: 3, size: 1000, hash }

const A = 'aa'.repeat(32)
const B = 'bb'.repeat(32)

test('version 2 on the wire, byte for byte', (t) => {
  const { want, have, blockRequest, lengthRequest, proof, unavailable, raise, later } =
    FETCH_MESSAGES
  t.is(hex(encodeWith(want, { log, on: true })), `${A}01`)
  const runs = [{ start: 0, count: 300 }]
  t.is(
    hex(encodeWith(have, { log, reset: true, length: 300, treeHash: hash, runs })),
    `${A}01fd2c0101${B}0100fd2c01`
  )
  t.is(hex(encodeWith(blockRequest, { id: 1, log, index: 2, nodes: 3, rank: 2 })), `01${A}020302`)
  t.is(hex(encodeWith(lengthRequest, { id: 1, log, from: 9 })), `01${A}09`)
  const block = { index: 2, nodes: [node], value: Buffer.from('abc') }
  t.is(
    hex(encodeWith(proof, { id: 1, block, upgrade: null, manifest: null })),
    `0101020103fde803${B}036162630000`
  )
  const upgrade = { start: 0, length: 4, nodes: [node], signature: Buffer.from('sig') }
  t.is(
    hex(encodeWith(proof, { id: 1, block: null, upgrade, manifest: Buffer.from('m') })),
    `01000100040103fde803${B}0373696701016d`
  )
  t.is(hex(encodeWith(unavailable, { id: 7 })), '07')
  t.is(hex(encodeWith(raise, { id: 7, rank: 1 })), '0701')
  t.is(hex(encodeWith(later, { id: 7, ms: 200 })), '07c8')
  t.is(
    hex(
      encodeWith(CALL_MESSAGES.request, {
        id: 1,
        method: 'm',
        json: '{}',
        attachment: Buffer.from('a')
      })
    ),
    '01016d027b7d0161'
  )
})

test('order on the wire', (t) => {
  t.alike(Object.keys(FETCH_MESSAGES), [
    'want',
    'have',
    'blockRequest',
    'lengthRequest',
    'proof',
    'unavailable',
    'cancel',
    'raise',
    'later'
  ])
  t.alike(Object.keys(CALL_MESSAGES), ['request', 'answer', 'cancel'])
})

test('what exceeds a limit is refused before it is read', async (t) => {
  const { have, proof } = FETCH_MESSAGES
  const runs = Array.from({ length: 1025 }, (_, i) => ({ start: i * 2, count: 1 }))
  const message: Have = { log, reset: true, length: 9, treeHash: null, runs }
  await t.exception(() => encodeWith(have, message), { code: 'FORMAT_INVALID' })
  const value = Buffer.alloc(BLOCK_BYTES_MAX + 1)
  const answer: Proof = {
    id: 1,
    block: { index: 0, nodes: [], value },
    upgrade: null,
    manifest: null
  }
  await t.exception(() => encodeWith(proof, answer), { code: 'FORMAT_INVALID' })
  // A length of 4 GiB in a frame of a few bytes.
  const frame = Buffer.from('01010200feffffffff', 'hex')
  await t.exception(() => decodeWith(proof, frame), { code: 'FORMAT_INVALID' })
  for (let i = 0; i < 2000; i++) {
    const garbage = randomBytes(i % 120)
    for (const codec of [...Object.values(FETCH_MESSAGES), ...Object.values(CALL_MESSAGES)]) {
      try {
        decodeWith<unknown>(codec, garbage)
      } catch (err) {
        if ((err as { code?: string }).code !== 'FORMAT_INVALID') t.fail(String(err))
      }
    }
  }
})

function hex(buffer: Buffer): string {
  return buffer.toString('hex')
}
