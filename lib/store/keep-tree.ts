/**
 * Lets a Hypercore keep the tree over blocks that it clears. By itself it deletes nodes that none of its own blocks
 * needs; but a peer that knows a shorter length, from before, gets its proof of the longer one out of these very nodes:
 * without them a device that was away would never again learn what this one wrote. They are small (some 80 bytes for a
 * block of up to 64 KiB).
 */
import type Hypercore from 'hypercore'
import { assert } from '../base/errors.ts'

const kept = new WeakSet<object>()

export function keepTree(core: Hypercore): void {
  const { state } = core.core
  if (kept.has(state)) return
  kept.add(state)
  const { createWriteBatch } = state
  assert(typeof createWriteBatch === 'function', 'this Hypercore writes in another way')
  state.createWriteBatch = function () {
    const batch = createWriteBatch.call(this)
    batch.deleteTreeNode = () => {}
    return batch
  }
}
