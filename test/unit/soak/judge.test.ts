/** The soak notices what it is there to notice. */
import test from 'brittle'
import { growth } from '../../soak/growth.ts'
import { losses, readLook, type GuestLook } from '../../soak/guest-work.ts'
import { soakOptions } from '../../soak/options.ts'

const LIMITS = { share: 0.2, least: 30 }
const SECRET = 'a'.repeat(64)

const SAID = `tick 12
boot 5e0c
uptime 20.51
clock 1000
builds 3
wrong 0
pieces 77
working yes
writable yes
secret ${SECRET}
complaint [ 1.0] mce: an old error`

test('what the guest says is read', (t) => {
  t.alike(readLook(SAID, 1_002_000), {
    tick: 12,
    bootId: '5e0c',
    uptimeSeconds: 20.51,
    clockOffSeconds: 2,
    builds: 3,
    wrong: 0,
    pieces: 77,
    working: true,
    writable: true,
    secret: SECRET,
    complaints: ['[ 1.0] mce: an old error']
  })
})

test('every loss is noticed', (t) => {
  const before = readLook(SAID, 0)
  const good = { ...before, tick: 13, uptimeSeconds: 21, builds: 4, pieces: 80 }
  t.alike(losses(before, good), [])
  const bad: [Partial<GuestLook>, RegExp][] = [
    [{ bootId: 'other' }, /booted again/],
    [{ uptimeSeconds: 1 }, /uptime/],
    [{ tick: 12 }, /counter/],
    [{ secret: 'b'.repeat(64) }, /secret .* changed/],
    [{ builds: 2 }, /got lost/],
    [{ pieces: 76 }, /got lost/],
    [{ working: false }, /work has ended/],
    [{ writable: false }, /cannot be written/],
    [{ wrong: 2 }, /2 builds went wrong/],
    [{ complaints: ['EXT4-fs error'] }, /its kernel says: EXT4-fs error/]
  ]
  for (const [change, problem] of bad) {
    const found = losses(before, { ...good, ...change })
    t.is(found.length, 1, String(problem))
    t.ok(problem.test(found[0]), found[0])
  }
  t.ok(losses(before, readLook('', 0)).length > 5, 'a guest that says nothing is not well')
  const empty = { ...before, secret: '' }
  t.is(losses(empty, { ...good, secret: '' }).length, 1, 'no checksum is no secret')
})

test('growth is what goes on, not noise', (t) => {
  const rounds = 20
  const of = (value: (round: number) => number) =>
    growth(
      'x',
      'bytes',
      Array.from({ length: rounds }, (_, i) => value(i + 1)),
      LIMITS
    )
  t.is(of((round) => 100 + 10 * round)?.grew, true, 'steadily')
  t.is(of((round) => (round > 12 ? 150 : 100))?.grew, true, 'by a step')
  t.is(of(() => 100)?.grew, false)
  t.is(of((round) => (round === 18 ? 900 : 100))?.grew, false, 'one outlier')
  t.is(of((round) => (round < 3 ? 10 : 100))?.grew, false, 'a start')
  t.is(of((round) => 100 + round)?.grew, false, 'less than the limits')
  t.is(of((round) => 1000 + 2 * round)?.grew, false, 'a small share')
  t.is(of((round) => 300 - 10 * round)?.grew, false, 'shrinking')
  t.is(growth('x', 'bytes', [1, 100, 1000], LIMITS), null, 'too few rounds')
})

test('options', async (t) => {
  const { rounds, workMs, guest, size } = soakOptions(['--rounds', '3', '--guest', 'small'], {})
  t.alike([rounds, workMs, guest, size.work], [3, 8000, 'small', 'compress'])
  t.is(soakOptions([], {}).size.work, 'compile')
  for (const wrong of [['--rounds', '0'], ['--guest', 'other'], ['--nonsense'], ['stray']]) {
    await t.exception(
      () => soakOptions(wrong, {}),
      /--rounds|no guest|option|argument/i,
      wrong.join(' ')
    )
  }
})
