import test from 'brittle'
import { Path } from '../../../lib/net/path.ts'

const BLOCK = 50_000

/** Keeps the window full over a path of that rate and round trip, for that long. */
function transfer(path: Path, clock: { ms: number }, rate: number, baseMs: number, ms: number) {
  const under: { sent: ReturnType<Path['sent']>; atMs: number }[] = []
  const endMs = clock.ms + ms
  let freeAtMs = clock.ms
  let bytes = 0
  while (clock.ms < endMs) {
    while (path.inFlight === 0 || path.inFlightBytes + path.blockBytes <= path.windowBytes) {
      freeAtMs = Math.max(freeAtMs, clock.ms + baseMs / 2) + BLOCK / rate
      under.push({ sent: path.sent(clock.ms), atMs: freeAtMs + baseMs / 2 })
    }
    const next = under.shift()!
    clock.ms = Math.max(clock.ms, next.atMs)
    path.delivered(next.sent, BLOCK, clock.ms)
    bytes += BLOCK
  }
  for (const { sent } of under) path.forgotten(sent)
  return bytes / ms
}

test('a path is kept full, and what is under way beyond it stays small', (t) => {
  for (const [rate, baseMs] of [
    [125, 20], // 1 Mb/s
    [1250, 20],
    [12_500, 20],
    [12_500, 200],
    [125_000, 1]
  ]) {
    const path = new Path()
    const clock = { ms: 0 }
    transfer(path, clock, rate, baseMs, 3000)
    const got = transfer(path, clock, rate, baseMs, 5000)
    t.ok(got > 0.95 * rate, `${rate} bytes/ms, ${baseMs} ms: ${Math.round(got)}`)
    const queued = path.windowBytes - rate * baseMs
    t.ok(queued <= 2.2 * BLOCK + rate * (10 + 0.2 * baseMs), `${Math.round(queued)} bytes queue`)
  }
})

test('it follows a path that becomes faster, slower, longer', (t) => {
  const path = new Path()
  const clock = { ms: 0 }
  transfer(path, clock, 1250, 20, 3000)
  transfer(path, clock, 12_500, 20, 5000)
  t.ok(transfer(path, clock, 12_500, 20, 3000) > 0.95 * 12_500)
  transfer(path, clock, 1250, 20, 5000)
  t.ok(path.windowBytes < 1250 * 20 + 3 * BLOCK)
  transfer(path, clock, 12_500, 100, 30_000)
  t.ok(path.baseMs > 95 && path.baseMs < 110, `${path.baseMs} ms`)
  t.ok(transfer(path, clock, 12_500, 100, 3000) > 0.95 * 12_500)
})

test('the round trip is not taken for longer because of our own queue', (t) => {
  const path = new Path()
  const clock = { ms: 0 }
  transfer(path, clock, 1250, 20, 60_000)
  t.ok(path.baseMs < 25, `${path.baseMs} ms`)
})

test('a request now and then says little of the rate, and forgets none', (t) => {
  const path = new Path()
  const clock = { ms: 0 }
  transfer(path, clock, 12_500, 20, 3000)
  for (let i = 0; i < 100; i++) {
    path.limited()
    const sent = path.sent(clock.ms)
    clock.ms += 24
    path.delivered(sent, BLOCK, clock.ms)
    clock.ms += 500
  }
  t.ok(path.rate > 11_000, `${path.rate}`)
  t.is(path.inFlightBytes, 0)
})
