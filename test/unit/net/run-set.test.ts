import test from 'brittle'
import fc from 'fast-check'
import { RunSet } from '../../../lib/net/run-set.ts'
import { subtractRuns } from '../../../lib/store/runs.ts'

test('a run set is a set', (t) => {
  const step = fc.oneof(
    fc.record({ add: fc.nat(60), count: fc.nat(10) }),
    fc.record({ remove: fc.nat(70) })
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const [runs, model] = [new RunSet(1000), new Set<number>()]
      for (const s of steps) {
        if ('add' in s) {
          runs.add(s.add, s.count)
          for (let i = 0; i < s.count; i++) model.add(s.add + i)
        } else {
          runs.remove(s.remove)
          model.delete(s.remove)
        }
      }
      let count = 0
      for (let i = 0; i < 80; i++) {
        if (runs.has(i) !== model.has(i)) return false
        if (model.has(i) && !model.has(i - 1)) count++
        if (runs.covers(i, i + 3) !== [0, 1, 2].every((n) => model.has(i + n))) return false
      }
      return runs.runs === count
    })
  )
  t.pass()
})

test('a peer cannot make it large', (t) => {
  const runs = new RunSet(3)
  for (let i = 0; i < 100; i++) runs.add(i * 2, 1)
  t.is(runs.runs, 3)
  t.ok(runs.has(4))
  t.absent(runs.has(6))
  runs.add(0, 5)
  t.is(runs.runs, 1, 'runs that join need no room')
})

test('runs without single blocks', (t) => {
  const runs = [
    { start: 0, count: 5 },
    { start: 8, count: 2 }
  ]
  t.alike(subtractRuns(runs, new Set([9, 0, 2, 7]), 10), [
    { start: 1, count: 1 },
    { start: 3, count: 2 },
    { start: 8, count: 1 }
  ])
  t.is(subtractRuns(runs, new Set([2]), 2).length, 2)
})
