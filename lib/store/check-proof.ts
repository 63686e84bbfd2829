/** What a proof must look like before Hypercore sees it. Proofs come from peers. */
import { BLOCK_BYTES_MAX } from '../base/limits.ts'
import type { LogProof, TreeNode } from './ports.ts'

/** Sides of a tree with 2⁵³ leaves, twice over. */
export const PROOF_NODES_MAX = 128
const SIGNATURE_BYTES_MAX = 256

/** False for what cannot fit a log of `length` blocks known here: other forks, gaps, absurd sizes. */
export function checkProof(proof: LogProof, length: number): boolean {
  const { block, upgrade } = proof
  if (proof.fork !== 0 || (block === null && upgrade === null)) return false
  if (proof.hash || proof.seek) return false
  if (upgrade !== null) {
    if (upgrade.start !== length || !isCount(upgrade.length) || upgrade.length === 0) return false
    if (!isCount(upgrade.start + upgrade.length)) return false
    if (upgrade.additionalNodes.length > 0 || !areNodes(upgrade.nodes)) return false
    if (upgrade.signature.byteLength > SIGNATURE_BYTES_MAX) return false
  }
  if (block !== null) {
    const end = upgrade === null ? length : upgrade.start + upgrade.length
    if (!isCount(block.index) || block.index >= end) return false
    if (!Buffer.isBuffer(block.value) || block.value.byteLength > BLOCK_BYTES_MAX) return false
    if (!areNodes(block.nodes)) return false
  }
  return true
}

function areNodes(nodes: TreeNode[]): boolean {
  if (nodes.length > PROOF_NODES_MAX) return false
  for (const node of nodes) {
    if (!isCount(node.index) || !isCount(node.size) || node.hash.byteLength !== 32) return false
  }
  return true
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}
