import type { Proof } from '../format/fetch.ts'
import type { LogProof } from '../store/ports.ts'

/** A proof from the wire as the store takes it. Only fork 0 travels. */
export function toLogProof({ block, upgrade, manifest }: Proof): LogProof {
  return {
    fork: 0,
    block,
    hash: null,
    seek: null,
    upgrade: upgrade === null ? null : { ...upgrade, additionalNodes: [] },
    manifest
  }
}
