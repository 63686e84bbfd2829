/** What comes from whom, and how fast: one list that every kind of source joins. */
import test from 'brittle'
import type { Clock } from '../../../lib/base/clock.ts'
import { ByteSources } from '../../../lib/daemon/transfers/byte-sources.ts'
import { Transfers } from '../../../lib/daemon/transfers/transfers.ts'
import { progressLine } from '../../../lib/cli/ui/terminal.ts'

test('rates are over the last seconds, shares since a transfer began', async (t) => {
  const { clock, pass } = fakeClock()
  const office = { name: 'office', kind: 'device', bytesIn: 1000, bytesOut: 0 }
  const stick = { name: 'stick', kind: 'stick', bytesIn: 0, bytesOut: 0 }
  const sources = new ByteSources(clock)
  sources.add(() => [office])
  sources.add(() => [stick, { ...stick, bytesIn: 1 }])
  t.alike(
    sources.list().map(({ name, bytesIn, perSecondIn }) => [name, bytesIn, perSecondIn]),
    [
      ['office', 1000, 0],
      ['stick', 1, 0]
    ],
    'nothing is known of rates yet; counts of one name are one'
  )
  sources.sample()
  const transfers = new Transfers(sources, clock)
  const of = { parcel: 'work', version: 3, why: 'hoard' }
  await transfers.during(of, async (transfer) => {
    t.alike(transfers.list()[0].sources, [])
    transfer.report({ phase: 'fetching', done: 0, total: 8000, unit: 'bytes' })
    pass(2000)
    office.bytesIn += 4000
    stick.bytesIn += 500
    stick.bytesOut += 100
    const told = transfer.report({ phase: 'fetching', done: 4000, total: 8000, unit: 'bytes' })
    t.alike(told.sources, [
      { name: 'office', kind: 'device', bytes: 4000, per_second: 2000 },
      { name: 'stick', kind: 'stick', bytes: 500, per_second: 250 }
    ])
    const [state] = transfers.list()
    t.alike([state.bytesDone, state.perSecond, state.etaMs], [4000, 2000, 2000])
    t.is(
      progressLine({ ...told, rate: 2000, etaMs: 2000, elapsedMs: 2000 }),
      'fetching  3.9 KiB of 7.8 KiB  50%  2.0 KiB/s  2.0 s left  from office 2.0 KiB/s, stick 250 B/s'
    )
  })
  t.alike(transfers.list(), [])
  for (let i = 0; i < 10; i++) {
    pass(1000)
    sources.sample()
  }
  t.is(sources.list()[0].perSecondIn, 0, 'what is long ago is no rate')
  t.alike(transfers.watch(of).shares(), [])
})

function fakeClock(): { clock: Clock; pass(ms: number): void } {
  let now = 0
  const clock = { now: () => now, monotonic: () => now, sleep: () => Promise.resolve() } as Clock
  return { clock, pass: (ms) => (now += ms) }
}
