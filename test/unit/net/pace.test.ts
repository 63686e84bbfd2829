import test from 'brittle'
import { Admission } from '../../../lib/net/admission.ts'
import { ReadAhead } from '../../../lib/net/read-ahead.ts'
import { Reconnector } from '../../../lib/net/reconnect.ts'

function fakeClock() {
  const clock = {
    ms: 0,
    now: () => clock.ms,
    monotonic: () => clock.ms,
    sleep: () => Promise.resolve()
  }
  return clock
}

test('read-ahead: in order only, growing, never past the end, nothing twice', (t) => {
  const ahead = new ReadAhead()
  const seen: number[] = []
  for (let i = 100; i < 140; i++) {
    const { start, end } = ahead.next(i, 150)
    for (let n = start; n < end; n++) seen.push(n)
    if (i === 101) t.is(seen.length, 0, 'two in a row may be chance')
  }
  t.is(new Set(seen).size, seen.length)
  t.is(Math.max(...seen), 149)
  for (const i of [3, 90, 12, 70, 11]) t.is(ahead.next(i, 150).end, 0)
})

test('admission: devices, a few candidates, nobody else; offenders wait longer each time', (t) => {
  const clock = fakeClock()
  const [device, other] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)]
  let open = false
  const admission = new Admission({
    isMember: (key) => key.equals(device),
    pairingOpen: () => open,
    clock
  })
  t.is(admission.roleOf(device), 'member')
  t.is(admission.roleOf(other), 'stranger')
  open = true
  t.is(admission.roleOf(other), 'candidate')
  admission.candidates = 8
  t.is(admission.roleOf(other), 'stranger')
  admission.candidates = 0
  admission.punish(device)
  t.is(admission.roleOf(device), 'stranger', 'not even as a candidate')
  clock.ms += 30_000
  t.is(admission.roleOf(device), 'member')
  admission.punish(device)
  clock.ms += 30_000
  t.is(admission.roleOf(device), 'stranger')
  clock.ms += 30_000
  t.is(admission.roleOf(device), 'member')
})

test('reconnect: less and less often, soon again while somebody waits', (t) => {
  const clock = fakeClock()
  let waiting = false
  let [tries, refreshes] = [0, 0]
  const reconnector = new Reconnector({
    clock,
    missing: () => [Buffer.alloc(32, 1)],
    waiting: () => waiting,
    connect: () => tries++,
    refresh: () => refreshes++
  })
  const run = (seconds: number) => {
    const before = tries
    for (let i = 0; i < seconds; i++) {
      clock.ms += 1000
      reconnector.tick()
    }
    return tries - before
  }
  t.is(run(600), 14, '0, 2, 4, … 32 s apart, then every minute')
  t.ok(refreshes >= 10 && refreshes <= 15)
  waiting = true
  t.is(run(60), 12)
  waiting = false
  run(60)
  reconnector.wake()
  t.is(run(1), 1)
})
