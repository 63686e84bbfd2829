import test from 'brittle'
import { BlockSet } from '../../../lib/base/block-set.ts'

test('blocks of several logs, as runs', (t) => {
  const [a, b] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)]
  const set = new BlockSet()
  for (const block of [7, 3, 4, 5, 9, 10, 3]) set.add(a, block)
  const other = new BlockSet()
  other.add(b, 0)
  other.add(a, 6)
  set.addAll(other)
  t.is(set.size, 8)
  t.ok(set.has(a, 6) && set.has(b, 0))
  t.absent(set.has(b, 3))
  t.alike(
    [...set.runs()].map(({ log, start, end }) => [log[0], start, end]),
    [
      [1, 3, 8],
      [1, 9, 11],
      [2, 0, 1]
    ]
  )
  t.alike([...new BlockSet().runs()], [])
})
