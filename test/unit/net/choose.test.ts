import test from 'brittle'
import { choose, type ChoosableBlock, type ChoosableSource } from '../../../lib/net/choose.ts'

type Source = ChoosableSource<ChoosableBlock> & { name: string }

function source(name: string, opts: Partial<Source> = {}): Source {
  return {
    name,
    rttMs: 10,
    inFlight: 0,
    window: { demand: 4, bulk: 2 },
    silent: false,
    offers: () => true,
    ...opts
  }
}

function bulk(count: number): ChoosableBlock[] {
  return Array.from({ length: count }, (_, index) => ({ log: 'a', index, demand: false }))
}

function picked(choice: ReturnType<typeof choose<ChoosableBlock, Source>>): string[] {
  return choice.requests.map(({ block, source: from }) => `${block.index}${from.name}`)
}

test('in order, from the closest, while there is room', (t) => {
  const [near, far] = [source('n', { rttMs: 1 }), source('f', { rttMs: 50 })]
  t.alike(picked(choose(bulk(6), [far, near])), ['0n', '1n', '2f', '3f'])
})

test('room is kept for demand', (t) => {
  const busy = source('s', { inFlight: 2 })
  t.alike(picked(choose(bulk(1), [busy])), [])
  t.alike(picked(choose([{ log: 'a', index: 7, demand: true }], [busy])), ['7s'])
})

test('a source with much to do is further away', (t) => {
  const [loaded, idle] = [source('l', { inFlight: 1 }), source('i', { rttMs: 15 })]
  t.alike(picked(choose(bulk(1), [loaded, idle])), ['0i'])
})

test('silent sources and those without the block are not asked; nobody is hopeless, busy is not', (t) => {
  const silent = source('s', { silent: true })
  const partial = source('p', { offers: (block) => block.index === 1 })
  const choice = choose(bulk(3), [silent, partial])
  t.alike(picked(choice), ['1p'])
  t.alike(
    choice.hopeless.map((block) => block.index),
    [0, 2]
  )
  t.is(choose(bulk(1), [source('b', { inFlight: 9 })]).hopeless.length, 0)
})
