import test from 'brittle'
import { RateLimit } from '../../../lib/net/rate-limit.ts'

/** Bytes per second that get through in a time, in pieces of 64 KiB, over a path of that rate (bytes/ms). */
function transfer(limit: RateLimit, clock: { ms: number }, pathRate: number, ms: number): number {
  const [startMs, endMs] = [clock.ms, clock.ms + ms]
  let bytes = 0
  while (clock.ms < endMs) {
    if (limit.allowance(clock.ms) > 0) {
      clock.ms += 65_536 / pathRate
      limit.used(65_536, clock.ms)
      bytes += 65_536
    } else clock.ms += limit.waitMs(clock.ms)
  }
  return (bytes / (clock.ms - startMs)) * 1000
}

test('a rate is kept, whatever the path does', (t) => {
  for (const bytesPerS of [2000, 100_000, 10_000_000]) {
    const limit = new RateLimit()
    limit.set({ bytesPerS }, 0)
    const got = transfer(limit, { ms: 0 }, 100_000, 600_000)
    t.ok(got < 1.1 * bytesPerS && got > 0.9 * bytesPerS, `${Math.round(got)} of ${bytesPerS}`)
  }
})

test('a share is measured first, and then kept', (t) => {
  const limit = new RateLimit()
  limit.set({ share: 0.5 }, 0)
  const clock = { ms: 0 }
  t.ok(transfer(limit, clock, 1000, 2100) > 900_000, 'measuring')
  const got = transfer(limit, clock, 1000, 60_000)
  t.ok(got > 450_000 && got < 550_000, String(Math.round(got)))
  transfer(limit, clock, 4000, 400_000)
  t.ok(transfer(limit, clock, 4000, 60_000) > 1_800_000, 'a path that became faster')
})

test('what is transferred now and then is no measure of the path', (t) => {
  const limit = new RateLimit()
  limit.set({ share: 0.5 }, 0)
  for (let ms = 0; ms < 60_000; ms += 300) {
    limit.used(1000, ms)
    limit.idle()
  }
  t.is(limit.allowance(60_000), Number.POSITIVE_INFINITY)
})

test('demand passes and is paid for by the rest; a debt has an end; a change is effective at once', (t) => {
  const limit = new RateLimit()
  limit.set({ bytesPerS: 100_000 }, 0)
  limit.used(100_000, 1000)
  t.ok(limit.allowance(1000) < 0)
  t.ok(limit.waitMs(1000) > 500 && limit.waitMs(1000) < 1100)
  limit.used(100_000_000, 1000)
  t.ok(limit.waitMs(1000) < 10_000)
  limit.set(null, 1000)
  t.is(limit.waitMs(1000), 0)
  t.is(limit.allowance(1000), Number.POSITIVE_INFINITY)
})
