import test from 'brittle'
import * as fc from 'fast-check'
import { BlockSet } from '../../../lib/base/block-set.ts'
import { Held, BLOCK_OVERHEAD_BYTES } from '../../../lib/daemon/cache/held.ts'
import { evictionOrder, planCache, type Wish } from '../../../lib/daemon/cache/plan.ts'

const LOG = Buffer.alloc(32, 1)

function wish(parcel: string, time: number, start: number, end: number, bytesEach = 1): Wish {
  const blocks = new BlockSet()
  blocks.of(LOG).addRun(start, end)
  const bytes = (end - start) * bytesEach
  return { version: `${parcel}${time}`, parcel, time, bytes, blocks }
}

function names(wishes: Wish[]): string[] {
  return wishes.map(({ version }) => version)
}

test('the newest of each parcel comes first, then the second newest', (t) => {
  const wishes = [
    wish('a', 3, 0, 10),
    wish('a', 2, 10, 20),
    wish('b', 1, 30, 40),
    wish('a', 1, 20, 30)
  ]
  t.alike(names(planCache(wishes, 100).keep), ['a3', 'b1', 'a2', 'a1'])
  t.alike(names(planCache(wishes, 30).keep), ['a3', 'b1', 'a2'])
  t.is(planCache(wishes, 30).bytesOver, 0, 'older versions are no need')
})

test('where one does not fit, neither do the older ones of its parcel; others may', (t) => {
  const wishes = [wish('a', 3, 0, 50), wish('a', 2, 50, 51), wish('b', 1, 60, 70)]
  const plan = planCache(wishes, 20)
  t.alike(names(plan.keep), ['b1'])
  t.is(plan.bytesOver, 30)
})

test('blocks that two lists name count once', (t) => {
  const wishes = [wish('a', 3, 0, 10), wish('a', 3, 0, 10), wish('a', 2, 5, 15)]
  const plan = planCache(wishes, 15)
  t.is(plan.keep.length, 3)
  t.is(plan.blocks.size, 15)
})

test('what is kept fits, and of no parcel an older one without the newer one', () => {
  const one = fc.record({ parcel: fc.constantFrom('a', 'b', 'c'), start: fc.nat(60) })
  fc.assert(
    fc.property(fc.array(one, { maxLength: 20 }), fc.nat(200), (made, quota) => {
      const wishes = made.map(({ parcel, start }, i) => wish(parcel, i, start, start + 10))
      const { keep, blocks } = planCache(wishes, quota)
      if (blocks.size > quota + keep.length) return false // shares are rounded
      return wishes.every((some) => {
        const newer = wishes.filter((w) => w.parcel === some.parcel && w.time > some.time)
        return !keep.includes(some) || newer.every((w) => keep.includes(w))
      })
    })
  )
})

test('ranges go by their last use, and first what nobody lists', (t) => {
  const range = (number: number, usedMs: number) => ({ log: LOG, range: number, bytes: 1, usedMs })
  const ranges = [range(0, 5), range(1, 0), range(2, 0), range(3, 2)]
  const order = evictionOrder(ranges, ({ range: number }) => number !== 2)
  t.alike(
    order.map(({ range: number }) => number),
    [2, 1, 3, 0]
  )
})

test('what is held is counted once, by range', (t) => {
  const held = new Held()
  held.add(LOG, 3, 1000)
  held.add(LOG, 3, 1000)
  held.add(LOG, 300, 500)
  t.is(held.bytes, 1500 + 2 * BLOCK_OVERHEAD_BYTES)
  held.use(LOG, 301, 7)
  t.alike(
    held.ranges().map(({ range, usedMs }) => [range, usedMs]),
    [
      [0, 0],
      [1, 7]
    ]
  )
  held.remove(LOG, 3, 1000)
  held.remove(LOG, 3, 1000)
  t.is(held.bytes, 500 + BLOCK_OVERHEAD_BYTES)
  t.absent(held.blocks.has(LOG, 3))
})
