/** Limits of bandwidth, obeyed by the real scheduler and the real serving side over simulated links and time. */
import test from 'brittle'
import { Random } from '../helpers/random.ts'
import { SimNet } from './sim-net.ts'

/** Bytes per millisecond. */
const MBIT = 125
const SEGMENT = 64 * 1024
const LINK = { rate: 100 * MBIT, delayMs: 10 }

for (const side of ['down', 'up'] as const) {
  test(`${side}: background transfers keep to the limit, demand passes, changes count at once`, async (t) => {
    const { net, limits } = await world()
    limits[side].set({ bytesPerS: 4 * MBIT * 1000 }, net.clock.monotonic())
    net.fetcher.fetch(net.key, range(0, 1500), { priority: 'hoard' }).catch(() => {})
    const limited = await bytesIn(net, 20_000)
    t.ok(limited < 11.5 * SEGMENT * 15.3, `${limited} bytes in 20 s`)
    t.ok(limited > 0.85 * 4 * MBIT * 20_000, `${limited} bytes in 20 s`)
    for (let i = 0; i < 20; i++) {
      let took = 0
      void net.demand([1600 + i * 5]).then((ms) => (took = ms))
      await net.clock.run(() => took > 0, 60_000)
      t.ok(took < 100, `a page fault takes ${took.toFixed(0)} ms`)
    }
    limits[side].set(null, net.clock.monotonic())
    limits.emit('change')
    const free = await bytesIn(net, 3000)
    t.ok(free > 0.5 * LINK.rate * 3000, `${free} bytes in 3 s`)
    t.alike(net.broken, [])
  })

  test(`${side}: a very low limit still lets everything through`, async (t) => {
    const { net, limits } = await world()
    limits[side].set({ bytesPerS: 8000 }, net.clock.monotonic())
    let done = false
    void net.fetcher
      .fetch(net.key, range(0, 10), { priority: 'proactive' })
      .then(() => (done = true))
    t.absent(await net.clock.run(() => done, 60_000))
    t.ok(await net.clock.run(() => done, 240_000))
    t.alike(net.broken, [])
  })
}

test('metered: nothing in the background, what is awaited comes', async (t) => {
  const { net } = await world()
  net.fetcher.limits.set({ down: null, up: null, metered: true })
  net.fetcher.fetch(net.key, range(0, 1000), { priority: 'hoard' }).catch(() => {})
  t.is(await bytesIn(net, 5000), 0)
  let done = 0
  void net.demand([5]).then(() => done++)
  void net.fetcher.fetch(net.key, [1200], { priority: 'working-set' }).then(() => done++)
  t.ok(await net.clock.run(() => done === 2, 1000))
  net.fetcher.limits.set({ down: null, up: null, metered: false })
  t.ok((await bytesIn(net, 1000)) > 10 * SEGMENT)
})

test('a metered device serves what somebody waits for', async (t) => {
  const { net } = await world()
  net.servers[0].limits.set({ down: null, up: null, metered: true })
  net.fetcher.fetch(net.key, range(0, 1000), { priority: 'hoard' }).catch(() => {})
  t.is(await bytesIn(net, 15_000), 0)
  let took = 0
  void net.demand([5]).then((ms) => (took = ms))
  t.ok(await net.clock.run(() => took > 0, 1000))
  t.ok(took < 100)
  net.servers[0].limits.set({ down: null, up: null, metered: false })
  t.ok((await bytesIn(net, 15_000)) > 10 * SEGMENT)
})

async function world() {
  const random = new Random(3)
  const net = new SimNet(() => random.next())
  await net.write(Array.from({ length: 2000 }, () => SEGMENT))
  const server = await net.addServer(LINK)
  const { limits } = net.fetcher
  return { net, limits: { down: limits.down, up: server.limits.up, emit: emitOn(net) } }
}

function emitOn(net: SimNet) {
  return (event: string) => {
    net.fetcher.limits.emit(event)
    net.servers[0].limits.emit(event)
  }
}

function range(start: number, end: number): number[] {
  return Array.from({ length: end - start }, (_, i) => start + i)
}

/** Bytes of blocks that come within that time. */
async function bytesIn(net: SimNet, ms: number): Promise<number> {
  const { counters } = net.servers[0].source
  const before = counters.blockBytesIn
  await net.clock.run(() => false, ms)
  return counters.blockBytesIn - before
}
