/** What the author of a log signed, to be shown to others (`format/signed-head.ts`), and whether it is that. */
import type Hypercore from 'hypercore'
import type { SignedHead } from '../format/signed-head.ts'
import { firstBlock, rootSpans, rootsFrom } from './tree.ts'

/**
 * The head at `length`, with the roots at `at`, which is at most that.
 * @param kept signature of that length, where it is not the current one any more
 */
export async function signedHead(
  core: Hypercore,
  length: number,
  at: number,
  kept: Buffer | null
): Promise<SignedHead | null> {
  const upgrade = async (start: number, end: number) =>
    (await core.proof({ upgrade: { start, length: end - start } })).upgrade!
  const { nodes: roots } = await upgrade(0, at)
  const more = at === length ? [] : (await upgrade(at, length)).nodes
  const signature = length === core.length ? (await upgrade(0, length)).signature : kept
  return signature && { log: core.key, length, at, roots, more, signature }
}

/** Hash of the tree of the first `at` blocks; null where the head is not what the author signed. */
export function verifyHead(core: Hypercore, head: SignedHead): Buffer | null {
  const { log, at, length, roots, more, signature } = head
  const { verifier, state } = core.core
  if (verifier === null || !log.equals(core.key) || at === 0 || at > length) return null
  const spans = [...rootSpans(at)]
  if (spans.length !== roots.length) return null
  if (spans.some(({ start, blocks }, i) => roots[i].index !== 2 * start + blocks - 1)) return null
  // Else they could name a node above the first blocks, and these would count for nothing.
  if (more.some(({ index }) => firstBlock(index) < at)) return null
  const all = rootsFrom([...roots, ...more], length)
  if (all === null || !verifier.verify(treeOf(state.createTreeBatch(), all, length), signature)) {
    return null
  }
  return treeOf(state.createTreeBatch(), roots, at).hash()
}

function treeOf(
  tree: Hypercore.TreeBatch,
  roots: Hypercore.Node[],
  length: number
): Hypercore.TreeBatch {
  const byteLength = roots.reduce((sum, { size }) => sum + size, 0)
  return Object.assign(tree, { fork: 0, roots, length, byteLength, hashCached: null })
}
