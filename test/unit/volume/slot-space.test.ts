import test from 'brittle'
import { SlotSpace, type Extent } from '../../../lib/volume/slot-space.ts'
import { Random } from '../../helpers/random.ts'

const slotsOf = (extents: Extent[]) =>
  extents.flatMap(({ first, count }) => Array.from({ length: count }, (_, i) => first + i))

test('slot space: hands out each slot once, in few pieces', (t) => {
  const rnd = new Random()
  t.comment(`SEED=${rnd.seed}`)
  for (const reserved of [0, 3000]) {
    const space = new SlotSpace()
    space.reserved = reserved
    const used = new Set<number>()
    for (let step = 0; step < 3000; step++) {
      const grow = reserved === 0 || rnd.chance(0.05)
      if (rnd.chance(0.5)) {
        const want = rnd.int(1, 128)
        const ready = space.ready
        const slots = slotsOf(space.take(want, grow))
        if (slots.length !== (grow ? want : Math.min(want, ready))) {
          return t.fail(`step ${step}: asked for ${want} of ${ready} and got ${slots.length}`)
        }
        for (const slot of slots) {
          if (used.has(slot)) return t.fail(`step ${step}: slot ${slot} twice`)
          used.add(slot)
        }
      } else {
        for (const slot of [...used].slice(0, rnd.int(0, 200))) {
          if (rnd.chance(0.3)) continue
          used.delete(slot)
          space.free(slot)
        }
      }
      if (rnd.chance(0.1)) space.trim()
      if (space.inUse !== used.size) return t.fail(`step ${step}: ${space.inUse}, ${used.size}`)
    }
  }
  t.pass()
})

test('slot space: a long free run is preferred, scattered slots only when need be', (t) => {
  const space = new SlotSpace()
  space.take(1000, true)
  for (let slot = 0; slot < 1000; slot += 2) space.free(slot)
  for (let slot = 600; slot < 700; slot++) if (!space.isFree(slot)) space.free(slot)
  t.alike(space.take(64, true), [{ first: 600, count: 64 }])
  t.alike(space.take(36, true), [{ first: 664, count: 36 }])
  t.alike(space.take(64, true), [{ first: 1000, count: 64 }], 'else the end')
  t.is(slotsOf(space.take(64, false)).length, 64, 'scattered where it may not grow')
  t.is(space.end, 1064)
})
