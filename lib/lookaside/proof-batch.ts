/** Proofs in one attachment: each with its length before it. */
import { FETCH_MESSAGES, type Proof } from '../format/fetch.ts'
import { decodeWith, encodeWith, invalid } from '../format/fields.ts'

export function encodeProof(proof: Omit<Proof, 'id'>): Buffer {
  return encodeWith(FETCH_MESSAGES.proof, { id: 0, ...proof })
}

/** Throws `FORMAT_INVALID`. */
export function decodeProof(data: Buffer): Proof {
  return decodeWith(FETCH_MESSAGES.proof, data)
}

/** As attachments. */
export function encodeProofs(proofs: Omit<Proof, 'id'>[]): Buffer[] {
  return proofs.flatMap((proof) => {
    const data = encodeProof(proof)
    const length = Buffer.alloc(4)
    length.writeUInt32LE(data.byteLength)
    return [length, data]
  })
}

/** Throws `FORMAT_INVALID`. */
export function decodeProofs(data: Buffer): Proof[] {
  const proofs: Proof[] = []
  for (let at = 0; at < data.byteLength;) {
    if (at + 4 > data.byteLength) throw invalid('A list of proofs ends too early')
    const end = at + 4 + data.readUInt32LE(at)
    if (end > data.byteLength) throw invalid('A list of proofs ends too early')
    proofs.push(decodeProof(data.subarray(at + 4, end)))
    at = end
  }
  return proofs
}
