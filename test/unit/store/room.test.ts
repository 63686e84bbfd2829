import test from 'brittle'
import { Room } from '../../../lib/store/room.ts'

const MIB = 1024 ** 2

function roomWith(mib: number): Room {
  return new Room({ directory: '/', freeBytes: () => Promise.resolve(mib * MIB) })
}

test('a large write leaves room for its own table and for small ones', async (t) => {
  const room = roomWith(50)
  await room.claim(12 * MIB)
  const err = await room.claim(12 * MIB).then(
    () => null,
    (e: { code: string; hint: string; context: { missing_bytes: number } }) => e
  )
  t.is(err?.code, 'DISK_FULL')
  t.is(err?.context.missing_bytes, (24 + 12 + 2 * 12 - 50) * MIB, 'what is missing')
  t.ok(err?.hint.includes('10 MiB'))
  await room.claim(1000)
  t.pass('a record still fits')
})

test('what was flushed needs no more room', async (t) => {
  let free = 50
  const room = new Room({ directory: '/', freeBytes: () => Promise.resolve(free * MIB) })
  await room.claim(12 * MIB)
  t.is(room.unwritten, 12 * MIB)
  room.flushed(room.unwritten)
  t.is(room.unwritten, 0)
  await room.claim(5 * MIB)
  free = 500
  await room.claim(100 * MIB)
  t.is(room.unwritten, 64 * MIB, 'RocksDB holds no more than that')
})

test('a full disk refuses everything', async (t) => {
  await t.exception(roomWith(0).claim(1), /too little space/)
})
