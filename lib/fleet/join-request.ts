/** The candidate's request, which proves that it has the device key it wants admitted; bound to one invite. */
import { HyperparcelError } from '../base/errors.ts'
import type { JoinRequest } from '../format/invite.ts'
import { decodeJoinRequest, encodeJoinRequest } from '../format/invite.ts'
import type { Role } from '../format/registry.ts'
import { randomBytes } from './derive.ts'
import { checkName } from './names.ts'
import type { KeyPair } from './sign.ts'
import { sign, verify } from './sign.ts'

const LABEL = 'request to join'

/** @param inviteId as blind-pairing names the invite */
export function createJoinRequest(
  device: KeyPair,
  inviteId: Buffer,
  name: string,
  role: Role
): Buffer {
  const request: JoinRequest = {
    publicKey: device.publicKey,
    name: checkName(name, 'device'),
    role,
    nonce: randomBytes(16),
    signature: Buffer.alloc(64)
  }
  request.signature = sign(device, LABEL, inviteId, unsigned(request))
  return encodeJoinRequest(request)
}

/** Throws `FORMAT_INVALID`, `FORMAT_TOO_NEW`, `NAME_INVALID`, `REQUEST_INVALID`. */
export function openJoinRequest(data: Buffer, inviteId: Buffer): JoinRequest {
  const request = decodeJoinRequest(data)
  checkName(request.name, 'device')
  if (verify(request.publicKey, request.signature, LABEL, inviteId, unsigned(request)))
    return request
  throw new HyperparcelError('REQUEST_INVALID', 'A request to join is not signed by its device')
}

function unsigned(request: JoinRequest): Buffer {
  const bytes = encodeJoinRequest(request)
  return bytes.subarray(0, bytes.byteLength - 64)
}
