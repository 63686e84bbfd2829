import test from 'brittle'
import { BlockStates } from '../../../lib/parcel/block-states.ts'

test('states of blocks, log by log, however far apart', (t) => {
  const [a, b] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)]
  const states = new BlockStates()
  states.set(a, 0, 1)
  states.set(a, 100_000, 2)
  states.set(b, 1024, 3)
  t.alike(
    [states.get(a, 0), states.get(a, 1), states.get(a, 100_000), states.get(a, 1e9)],
    [1, 0, 2, 0]
  )
  t.alike([states.get(b, 0), states.get(b, 1024)], [0, 3])
})
