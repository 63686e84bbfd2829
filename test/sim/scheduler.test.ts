/**
 * The scheduler over simulated links. Seeds are printed; `SEED=n` runs the random worlds of that seed alone,
 * `SIM_SEEDS=n` runs that many.
 */
import test from 'brittle'
import { Random } from '../helpers/random.ts'
import { SimNet, type ServerOptions } from './sim-net.ts'

/** Bytes per millisecond. */
const MBIT = 125
const SEGMENT = 64 * 1024
const HOUR_MS = 3_600_000
/** Worlds that found something: bulk that waited for room at a source that fell silent. */
const FAILED_ONCE = [822_585_883]

test('random worlds: all arrives, nothing is asked twice, what is under way stays bounded', async (t) => {
  const seeds = worldSeeds()
  t.comment(`seeds up to ${seeds.at(-1)}`)
  for (const seed of seeds) {
    const problem = await randomWorld(seed)
    if (problem !== null) t.fail(`seed ${seed}: ${problem}`)
  }
  t.pass(`${seeds.length} worlds`)
})

test('near and far have all: at least 95 % from the near one', async (t) => {
  for (const mbit of [10, 100, 1000]) {
    const net = await world(600)
    const near = await net.addServer({ rate: mbit * MBIT, delayMs: 0.5 })
    await net.addServer({ rate: mbit * MBIT, delayMs: 40 })
    await hoard(net, 600)
    const share = near.source.counters.blockBytesIn / (600 * SEGMENT)
    t.ok(share >= 0.95, `${mbit} Mb/s: ${(share * 100).toFixed(1)} %`)
    t.alike(net.broken, [])
  }
})

test('a near source that is very slow does not keep a fast one from helping', async (t) => {
  const net = await world(400)
  await net.addServer({ rate: MBIT, delayMs: 0.5 })
  await net.addServer({ rate: 100 * MBIT, delayMs: 40 })
  const ms = await hoard(net, 400)
  t.ok(ms < 20_000, `${Math.round(ms)} ms instead of ${Math.round((400 * SEGMENT) / MBIT)}`)
})

test('two equal sources are at least 1.8 times one', async (t) => {
  for (const opts of [
    { rate: 10 * MBIT, delayMs: 10 },
    { rate: 100 * MBIT, delayMs: 10 },
    { rate: 20 * MBIT, delayMs: 60 }
  ]) {
    const one = await world(400)
    await one.addServer(opts)
    const two = await world(400)
    await two.addServer(opts)
    await two.addServer(opts)
    const ratio = (await hoard(one, 400)) / (await hoard(two, 400))
    t.ok(ratio >= 1.8, `${opts.rate / MBIT} Mb/s, ${2 * opts.delayMs} ms: ${ratio.toFixed(2)}`)
  }
})

test('a page fault during a hoard: 99 % within two round trips and three segments', async (t) => {
  for (const [mbit, delayMs] of [
    [10, 10],
    [10, 40],
    [2, 10],
    [100, 10]
  ]) {
    const net = await world(2000)
    await net.addServer({ rate: mbit * MBIT, delayMs })
    const hoarding = new AbortController()
    const all = Array.from({ length: 1500 }, (_, i) => i)
    const { signal } = hoarding
    net.fetcher.fetch(net.key, all, { priority: 'hoard', signal }).catch(() => {})
    const random = new Random(7)
    await net.clock.run(() => false, 3000)
    const took: number[] = []
    for (let i = 0; i < 200; i++) {
      await net.clock.run(() => false, random.next() * 100)
      const ms = await timed(net, 1500 + ((i * 7) % 500))
      took.push(ms)
    }
    hoarding.abort(new Error('enough'))
    const limit = 4 * delayMs + (3 * SEGMENT) / (mbit * MBIT)
    const p99 = took.sort((a, b) => a - b)[197]
    t.ok(p99 <= limit, `${mbit} Mb/s: ${p99.toFixed(0)} ms of ${limit.toFixed(0)}`)
  }
})

test('the near one dies: nobody waits for a second', async (t) => {
  const net = await world(3000)
  const near = await net.addServer({ rate: 1000 * MBIT, delayMs: 0.5 })
  await net.addServer({ rate: 100 * MBIT, delayMs: 40 })
  const { signal } = new AbortController()
  const all = Array.from({ length: 2000 }, (_, i) => i)
  net.fetcher.fetch(net.key, all, { priority: 'hoard', signal }).catch(() => {})
  await net.clock.run(() => false, 300)
  let longest = 0
  for (let i = 0; i < 100; i++) {
    if (i === 20) near.die()
    longest = Math.max(longest, await timed(net, 2000 + i * 7))
  }
  t.ok(longest < 1000, `${longest.toFixed(0)} ms`)
  t.alike(net.broken, [])
})

test('the same when many wait at once, and the hoard goes on elsewhere', async (t) => {
  const net = await world(1000)
  const near = await net.addServer({ rate: 100 * MBIT, delayMs: 0.5 })
  const far = await net.addServer({ rate: 100 * MBIT, delayMs: 40 })
  const done = hoard(net, 900)
  await net.clock.run(() => false, 500)
  const faults = Array.from({ length: 8 }, (_, i) => net.demand([900 + i]))
  near.die()
  t.ok(Math.max(...(await settled(net, faults))) < 1000)
  t.ok(far.source.counters.hedgesWon > 0)
  await done
  t.alike(net.broken, [])
})

test('what is no longer wanted is not sent', async (t) => {
  const net = await world(200)
  const server = await net.addServer({ rate: MBIT, delayMs: 10 })
  const hoarding = new AbortController()
  const all = Array.from({ length: 100 }, (_, i) => i)
  const { signal } = hoarding
  net.fetcher.fetch(net.key, all, { priority: 'hoard', signal }).catch(() => {})
  await net.clock.run(() => false, 2000)
  hoarding.abort(new Error('enough'))
  const { blocksIn } = server.source.counters
  await net.clock.run(() => false, 10_000)
  t.is(server.source.counters.blocksIn, blocksIn)
  t.ok(server.source.counters.blocksWasted <= 3)
  t.is(server.source.inFlight, 0)
})

async function world(blocks: number, seed = 1): Promise<SimNet> {
  const random = new Random(seed)
  const net = new SimNet(() => random.next())
  await net.write(Array.from({ length: blocks }, () => SEGMENT))
  return net
}

/** Milliseconds that fetching the first blocks takes. */
async function hoard(net: SimNet, count: number): Promise<number> {
  const startMs = net.clock.monotonic()
  const all = Array.from({ length: count }, (_, i) => i)
  await settled(net, [net.fetcher.fetch(net.key, all, { priority: 'hoard' })])
  return net.clock.monotonic() - startMs
}

async function timed(net: SimNet, index: number): Promise<number> {
  return (await settled(net, [net.demand([index])]))[0]
}

/** Lets time pass until all are there. */
async function settled<T>(net: SimNet, promises: Promise<T>[]): Promise<T[]> {
  let done = false
  const all = Promise.all(promises).finally(() => (done = true))
  if (!(await net.clock.run(() => done, HOUR_MS))) throw new Error('some never arrive')
  return all
}

async function randomWorld(seed: number): Promise<string | null> {
  const random = new Random(seed)
  const net = new SimNet(() => random.next())
  const count = random.int(20, 120)
  await net.write(Array.from({ length: count }, () => random.int(100, SEGMENT)))
  const honest = await net.addServer(conditions(random))
  const liars = new Set<object>()
  for (let i = random.int(0, 4); i > 0; i--) {
    const lies = random.chance(0.2)
    const share = random.pick([1, 1, 0.5, 0.1])
    const salt = random.int(0, 1000)
    const has = (index: number) => ((index * 7919 + salt) % 1000) / 1000 < share
    const server = await net.addServer({ ...conditions(random), lies, has })
    if (lies) liars.add(server.source)
    if (random.chance(0.3)) {
      net.clock.after(random.int(0, 3000), () => server.die())
      if (random.chance(0.5)) {
        net.clock.after(random.int(3000, 20_000), () => net.fetcher.removeSource(server.source))
      }
    }
  }
  const priorities = ['working-set', 'proactive', 'hoard'] as const
  const all = Array.from({ length: count }, (_, i) => i)
  const waits: Promise<unknown>[] = []
  waits.push(net.fetcher.fetch(net.key, all, { priority: random.pick(priorities) }))
  for (let i = random.int(0, 20); i > 0; i--) {
    net.clock.after(random.int(0, 5000), () => {
      const index = random.int(0, count - 1)
      if (random.chance(0.2)) {
        const { signal } = abortAfter(net, random.int(1, 2000))
        net.fetcher.fetch(net.key, all, { priority: 'proactive', signal }).catch(() => {})
      } else waits.push(net.demand([index]))
    })
  }
  try {
    await settled(net, waits)
  } catch (err) {
    return `${(err as Error).message}; ${net.broken.join(', ')}`
  }
  if (net.broken.length > 0) return net.broken.join(', ')
  if (net.misbehaved.some((source) => !liars.has(source))) return 'an honest one was blamed'
  if (honest.source.inFlight < 0) return 'fewer than nothing under way'
  return null
}

function conditions(random: Random): ServerOptions {
  const flaps = random.chance(0.2)
  return {
    rate: MBIT * random.pick([0.1, 1, 10, 100, 1000]),
    delayMs: random.pick([0.5, 5, 20, 80, 250]),
    loss: random.pick([0, 0, 0.01, 0.05]),
    lossMs: random.int(20, 500),
    ...(flaps ? { upMs: random.int(500, 5000), downMs: random.int(500, 5000) } : {})
  }
}

function abortAfter(net: SimNet, ms: number): AbortController {
  const controller = new AbortController()
  net.clock.after(ms, () => controller.abort(new Error('enough')))
  return controller
}

function worldSeeds(): number[] {
  if (process.env['SEED'] !== undefined) return [Number(process.env['SEED'])]
  const first = new Random().seed
  const some = Array.from({ length: Number(process.env['SIM_SEEDS'] ?? 40) }, (_, i) => first + i)
  return [...FAILED_ONCE, ...some]
}
