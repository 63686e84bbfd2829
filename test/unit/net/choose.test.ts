import test from 'brittle'
import {
  choose,
  type ChoiceLimits,
  type ChoosableBlock,
  type ChoosableSource
} from '../../../lib/net/choose.ts'

type Source = ChoosableSource<ChoosableBlock> & { name: string }

/** Blocks of 100 bytes at 100 bytes a millisecond. */
function source(name: string, opts: Partial<Source> = {}): Source {
  return {
    name,
    baseMs: 10,
    rate: 100,
    blockBytes: 100,
    inFlight: (opts.inFlightBytes ?? 0) / 100,
    inFlightBytes: 0,
    demandBytes: 0,
    windowBytes: 200,
    lateMs: 0,
    silent: false,
    paused: false,
    free: false,
    probeBytes: 0,
    offers: () => true,
    ...opts
  }
}

function bulk(count: number, rank = 3): ChoosableBlock[] {
  return Array.from({ length: count }, (_, index) => ({ log: 'a', index, rank }))
}

function picked(blocks: ChoosableBlock[], sources: Source[], limits?: ChoiceLimits): string {
  const { requests } = choose(blocks, sources, limits)
  return requests.map(({ block, source: from }) => `${block.index}${from.name}`).join(' ')
}

test('in order, as far as windows go; demand goes further', (t) => {
  t.is(picked(bulk(5), [source('s')]), '0s 1s')
  t.is(picked(bulk(1), [source('s', { inFlightBytes: 200 })]), '')
  t.is(picked(bulk(1, 0), [source('s', { inFlightBytes: 200 })]), '0s')
  t.is(picked(bulk(1), [source('s', { windowBytes: 1 })]), '0s', 'one is always possible')
})

test('two equal sources share', (t) => {
  t.is(picked(bulk(6), [source('a'), source('b')]), '0a 1b 2a 3b')
})

test('bulk keeps to the close ones; far ones help where they are much faster, or alone have it', (t) => {
  const near = source('n', { baseMs: 1 })
  t.is(picked(bulk(6), [source('f', { baseMs: 80 }), near]), '0n 1n')
  const fast = source('f', { baseMs: 80, rate: 1000 })
  t.ok(picked(bulk(250), [fast, near]).includes('f'))
  const little = source('n', { baseMs: 1, offers: ({ index }) => index === 3 })
  t.is(picked(bulk(4), [source('f', { baseMs: 80 }), little]), '0f 1f 3n')
  const silent = source('n', { baseMs: 1, silent: true })
  t.is(picked(bulk(4), [source('f', { baseMs: 80 }), silent]), '0f 1f', 'and when it is silent')
})

test('a far source is asked for a share, to know how fast it is', (t) => {
  const [near, far] = [source('n', { baseMs: 1 }), source('f', { baseMs: 80, probeBytes: 150 })]
  const { requests } = choose(bulk(4), [near, far])
  t.alike(
    requests.map(({ source: { name }, probe }) => [name, probe]),
    [
      ['f', true],
      ['n', false],
      ['n', false]
    ]
  )
})

test('a block waits for a fast source rather than go to one that would be done later', (t) => {
  const slow = source('s', { rate: 1, windowBytes: 1000 })
  t.is(picked(bulk(4), [slow, source('f')]), '0f 1f')
  // With a hundred blocks before it, the slow one is done sooner.
  t.ok(picked(bulk(150), [slow, source('f')]).includes('s'))
})

test('demand goes to whoever is expected to be first, bulk does not stand before it', (t) => {
  const far = source('f', { baseMs: 12 })
  t.is(picked(bulk(1, 0), [far, source('n', { inFlightBytes: 200 })]), '0n')
  t.is(picked(bulk(1, 0), [far, source('n', { inFlightBytes: 400, demandBytes: 400 })]), '0f')
  t.is(picked(bulk(1, 0), [far, source('n', { lateMs: 50 })]), '0f', 'a late one is expected later')
})

test('silent sources are asked for demand that nobody else has; nothing else is hopeless', (t) => {
  const silent = source('s', { silent: true })
  const partial = source('p', { offers: ({ index }) => index === 1 })
  t.is(picked(bulk(3, 0), [silent, partial]), '0s 1p 2s')
  const { requests, hopeless } = choose(bulk(3), [silent, partial])
  t.is(requests.length, 1)
  t.alike(
    hopeless.map(({ index }) => index),
    [0, 2]
  )
  t.is(choose(bulk(1), [source('b', { inFlightBytes: 900 })]).hopeless.length, 0)
})

test('who asked for time gets no bulk', (t) => {
  const paused = source('p', { paused: true })
  t.is(picked(bulk(1), [paused]), '')
  t.is(choose(bulk(1), [paused]).hopeless.length, 0)
  t.is(picked(bulk(1, 0), [paused]), '0p')
  t.is(picked(bulk(1), [paused, source('f', { baseMs: 80 })]), '0f')
})

test('limits hold back what is in the background, nothing else', (t) => {
  const blocks = [{ log: 'a', index: 7, rank: 0 }, ...bulk(4)]
  const wide = source('s', { windowBytes: 10_000 })
  t.is(picked(blocks, [wide], { bulkBytes: 250, rankMax: 3 }), '7s 0s 1s')
  t.is(picked(blocks, [wide], { bulkBytes: 0, rankMax: 3 }), '7s')
  t.is(picked(bulk(4), [wide], { bulkBytes: 1000, rankMax: 1 }), '')
  t.is(picked(bulk(2), [wide, source('l', { free: true })], { bulkBytes: 0, rankMax: 1 }), '0l 1l')
  t.is(picked(bulk(1, 1), [wide], { bulkBytes: 0, rankMax: 1 }), '0s', 'a resume is awaited, too')
})
