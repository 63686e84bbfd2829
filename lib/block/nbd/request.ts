/** One request of the transmission phase, and whether it can be served at all. */
import { NBD_REQUEST_BYTES_MAX } from '../../base/limits.ts'
import { CMD, CMD_FLAG, NBD_ERROR, REQUEST_MAGIC } from './protocol.ts'

/** The cookie is opaque to us: two halves of 64 bits. Reused for the next request once this one has started. */
export interface Request {
  flags: number
  type: number
  cookieHigh: number
  cookieLow: number
  /** Bytes. Not exact above 2^53, but then larger than any device all the same. */
  offset: number
  /** Bytes. */
  length: number
}

/** What the refusal of a request depends on. */
export interface RequestLimits {
  readonly sizeBytes: number
  readonly readOnly: boolean
  readonly structuredReplies: boolean
  readonly blockStatus: boolean
}

export function newRequest(): Request {
  return { flags: 0, type: 0, cookieHigh: 0, cookieLow: 0, offset: 0, length: 0 }
}

/** Fills `request` from `REQUEST_BYTES` bytes; false when they are no request. */
export function decodeRequest(bytes: Buffer, request: Request): boolean {
  if (bytes.readUInt32BE(0) !== REQUEST_MAGIC) return false
  request.flags = bytes.readUInt16BE(4)
  request.type = bytes.readUInt16BE(6)
  request.cookieHigh = bytes.readUInt32BE(8)
  request.cookieLow = bytes.readUInt32BE(12)
  request.offset = bytes.readUInt32BE(16) * 2 ** 32 + bytes.readUInt32BE(20)
  request.length = bytes.readUInt32BE(24)
  return true
}

/** 0, or the NBD error with which the request is refused before any device sees it. */
export function refusalOf({ type, flags, offset, length }: Request, limits: RequestLimits): number {
  const beyond = offset > limits.sizeBytes || length > limits.sizeBytes - offset
  switch (type) {
    case CMD.READ: {
      const allowed = CMD_FLAG.FUA | (limits.structuredReplies ? CMD_FLAG.DF : 0)
      const bad = (flags & ~allowed) !== 0 || beyond || length > NBD_REQUEST_BYTES_MAX
      return bad ? NBD_ERROR.EINVAL : 0
    }
    case CMD.WRITE:
      if ((flags & ~CMD_FLAG.FUA) !== 0 || length > NBD_REQUEST_BYTES_MAX) return NBD_ERROR.EINVAL
      if (limits.readOnly) return NBD_ERROR.EPERM
      return beyond ? NBD_ERROR.ENOSPC : 0
    case CMD.FLUSH:
      return (flags & ~CMD_FLAG.FUA) !== 0 || offset !== 0 || length !== 0 ? NBD_ERROR.EINVAL : 0
    case CMD.TRIM:
      if ((flags & ~CMD_FLAG.FUA) !== 0) return NBD_ERROR.EINVAL
      if (limits.readOnly) return NBD_ERROR.EPERM
      return beyond ? NBD_ERROR.EINVAL : 0
    case CMD.WRITE_ZEROES: {
      const allowed = CMD_FLAG.FUA | CMD_FLAG.NO_HOLE | CMD_FLAG.FAST_ZERO
      if ((flags & ~allowed) !== 0) return NBD_ERROR.EINVAL
      if (limits.readOnly) return NBD_ERROR.EPERM
      if (beyond) return NBD_ERROR.ENOSPC
      // Forgetting is fast; reserving may not be.
      const reserveFast = CMD_FLAG.NO_HOLE | CMD_FLAG.FAST_ZERO
      return (flags & reserveFast) === reserveFast ? NBD_ERROR.ENOTSUP : 0
    }
    case CMD.BLOCK_STATUS: {
      const allowed = CMD_FLAG.FUA | CMD_FLAG.REQ_ONE
      const bad = (flags & ~allowed) !== 0 || beyond || length === 0 || !limits.blockStatus
      return bad ? NBD_ERROR.EINVAL : 0
    }
    case CMD.DISC:
      return 0
    default:
      return NBD_ERROR.EINVAL
  }
}
