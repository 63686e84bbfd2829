import test from 'brittle'
import fc from 'fast-check'
import { KnownNodes } from '../../../lib/net/known-nodes.ts'
import { blocks } from '../../conformance/log-store.ts'
import { createLogStore } from '../../helpers/stores.ts'

test('what it says suffices to verify, and is little once blocks came in order', async (t) => {
  for (const length of [1, 2, 5, 8, 13, 64]) {
    const [here, there] = [await createLogStore(t), await createLogStore(t)]
    const log = await here.current('parcel:a')
    await log.append(blocks(0, length))
    await here.flush()
    const copy = await there.open(log.key)
    await copy.apply((await log.proveLength(0, length))!)
    const known = new KnownNodes()
    const [order] = fc.sample(fc.shuffledSubarray([...blocks(0, length).keys()]), {
      numRuns: 1,
      seed: length
    })
    const rest = [...blocks(0, length).keys()].filter((i) => !order.includes(i))
    for (const index of [...order, ...rest]) {
      const levels = known.missing(index, length)
      t.ok(levels >= (await copy.missingNodes(index)), `block ${index} of ${length}`)
      const proof = (await log.proveBlock(index, levels))!
      if (!(await copy.apply(proof))) t.fail(`block ${index} of ${length} does not verify`)
      known.add(index, proof.block!.nodes.length)
      t.is(known.missing(index, length), 0)
    }
  }
})

test('a log that grows', (t) => {
  const known = new KnownNodes()
  t.is(known.missing(4, 5), 0, 'the last block is a root')
  t.is(known.missing(0, 4), 2)
  known.add(0, 2)
  t.is(known.missing(1, 4), 0, 'its sibling came with it')
  t.is(known.missing(2, 4), 1)
  t.is(known.missing(4, 8), 3, 'up to the new root')
})
