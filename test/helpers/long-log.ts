/**
 * Makes a log of a closed store as long as if a device had written to it for years, within seconds: the records that
 * Hypercore keeps of a log (tree, bitfield, signed head) are written directly, signed by the log's own key. Blocks that
 * were there before stay, are proven by the new tree, and more can be appended; data of the others is not there.
 */
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import Corestore from 'corestore'
import type Hypercore from 'hypercore'
import { openStorage } from '../../lib/store/cores.ts'
import { parentOf } from '../../lib/store/tree.ts'
import { CORES_DIRECTORY } from '../../lib/store/log-store.ts'

const BLOCK_BYTES = 60_000
const PAGE_BITS = 32_768

interface Session {
  createTreeBatch(): Hypercore.TreeBatch
  createWriteBatch(): WriteBatch
  flush(): Promise<unknown>
}

interface WriteBatch {
  putTreeNode(node: Hypercore.Node): void
  putBitfieldPage(index: number, page: Buffer): void
  setHead(head: object): void
}

interface Internals {
  state: Session
  verifier: { sign(batch: Hypercore.TreeBatch, keyPair: unknown): Buffer }
  header: { keyPair: unknown }
}

export interface LongLogOptions {
  /** Of the `LogStore`. */
  directory: string
  purpose: string
  /** Blocks. */
  length: number
  /** Which of the blocks that are not there count as stored? A pattern for 32,768 blocks; none by default. */
  page?: Buffer
}

/** Resolves with the log's key. */
export async function lengthenLog(opts: LongLogOptions): Promise<Buffer> {
  const file = path.join(opts.directory, 'logs.json')
  const state = JSON.parse(await readFile(file, 'utf8')) as {
    logs: { purpose: string; name: string; length: number; treeHash: string }[]
  }
  const own = state.logs.find(({ purpose }) => purpose === opts.purpose)!
  const store = new Corestore(openStorage(path.join(opts.directory, CORES_DIRECTORY)))
  try {
    await store.ready()
    const core = store.get({ name: own.name })
    await core.ready()
    own.treeHash = (await lengthen(core, opts)).toString('hex')
    own.length = opts.length
    await writeFile(file, JSON.stringify(state))
    return core.key
  } finally {
    await store.close()
  }
}

async function lengthen(core: Hypercore, { length, page }: LongLogOptions): Promise<Buffer> {
  const half = 2 ** Math.ceil(Math.log2(core.length))
  const filler = Array.from({ length: half - core.length }, () => Buffer.from([0]))
  if (filler.length > 0) await core.append(filler)
  const { state, verifier, header } = core.core as unknown as Internals
  const tx = state.createWriteBatch()
  const batch = state.createTreeBatch()
  let [root] = batch.roots
  let blocks = half
  for (; blocks * 2 <= length; blocks *= 2) {
    // Subtrees of as many blocks beside it, up to the largest one that the length has.
    const sibling = subtree(root.index + 2 * blocks, blocks)
    const parent = parentOf(root, sibling)
    for (const node of [sibling, parent]) tx.putTreeNode(node)
    root = parent
  }
  batch.roots = [root]
  for (let at = blocks, size = blocks / 2; at < length; size /= 2) {
    if (at + size > length) continue
    const next = subtree(2 * at + size - 1, size)
    tx.putTreeNode(next)
    batch.roots.push(next)
    at += size
  }
  batch.length = length
  batch.byteLength = batch.roots.reduce((sum, { size }) => sum + size, 0)
  for (let i = 0; page !== undefined && i * PAGE_BITS < length; i++) {
    const bits = Buffer.from(page)
    if (i === 0) bits.fill(0xff, 0, half / 8)
    const end = length - i * PAGE_BITS
    for (let bit = end; bit < PAGE_BITS; bit++) bits[bit >> 3] &= ~(1 << (bit & 7))
    tx.putBitfieldPage(i, bits)
  }
  tx.setHead({
    fork: batch.fork,
    length,
    rootHash: batch.hash(),
    signature: verifier.sign(batch, header.keyPair),
    timestamp: Date.now()
  })
  await state.flush()
  return batch.hash()
}

function subtree(index: number, blocks: number): Hypercore.Node {
  return { index, size: blocks * BLOCK_BYTES, hash: randomBytes(32) }
}
