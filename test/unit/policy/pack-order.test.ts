import test from 'brittle'
import { chunkName, chunkOfName, packOrder, volumeOfName } from '../../../lib/policy/pack-order.ts'
import { planRehearsal, type RehearsalFacts } from '../../../lib/policy/rehearsal-plan.ts'

test('what all recordings needed for an answer comes first, guesses last', (t) => {
  const older = { touched: [1, 2, 3, 9], answered: 3 }
  const newer = { touched: [3, 7, 1, 8], answered: 3, guessed: [5, 1] }
  t.alike(packOrder([older, newer], 100), { chunks: [3, 1, 7, 2, 8, 9, 5], answered: 4 })
  t.alike(packOrder([newer], 100), { chunks: [3, 7, 1, 8, 5], answered: 3 })
  t.alike(packOrder([older, newer], 3), { chunks: [3, 1, 7], answered: 3 }, 'bounded')
  t.alike(packOrder([], 10), { chunks: [], answered: 0 })
})

test('the name of a chunk tells its volume', (t) => {
  for (const [volume, chunk] of [
    [0, 0],
    [63, 2 ** 34 - 1]
  ]) {
    const name = chunkName(volume, chunk)
    t.alike([volumeOfName(name), chunkOfName(name)], [volume, chunk])
  }
})

test('a rehearsal is for a device that has nothing better to do', (t) => {
  const GIB = 1024 ** 3
  const facts: RehearsalFacts = {
    wanted: true,
    resumable: true,
    whole: true,
    rehearsed: false,
    busy: false,
    guestBytes: GIB,
    memoryFreeBytes: 4 * GIB,
    diskFreeBytes: 4 * GIB
  }
  t.is(planRehearsal(facts), 'now')
  for (const never of [{ wanted: false }, { resumable: false }, { rehearsed: true }]) {
    t.is(planRehearsal({ ...facts, ...never }), 'never', JSON.stringify(never))
  }
  for (const later of [
    { whole: false },
    { busy: true },
    { memoryFreeBytes: GIB },
    { diskFreeBytes: GIB }
  ]) {
    t.is(planRehearsal({ ...facts, ...later }), 'later', JSON.stringify(later))
  }
})
