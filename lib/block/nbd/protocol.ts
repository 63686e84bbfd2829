/**
 * Constants of the NBD protocol, named as in its specification
 * (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md). All numbers travel big endian.
 */

/** 64-bit magics, as two halves: a double cannot hold them. */
export const NBDMAGIC = [0x4e42444d, 0x41474943] as const
export const IHAVEOPT = [0x49484156, 0x454f5054] as const
export const REPLY_MAGIC = [0x0003e889, 0x045565a9] as const

export const HANDSHAKE_FLAG = { FIXED_NEWSTYLE: 1, NO_ZEROES: 2 } as const

export const OPT = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10
} as const

const REP_ERROR = 0x80000000
export const REP = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: REP_ERROR + 1,
  ERR_INVALID: REP_ERROR + 3,
  ERR_UNKNOWN: REP_ERROR + 6,
  ERR_TOO_BIG: REP_ERROR + 9
} as const

export const INFO = { EXPORT: 0, NAME: 1, BLOCK_SIZE: 3 } as const

export const TRANSMISSION_FLAG = {
  HAS_FLAGS: 1,
  READ_ONLY: 2,
  SEND_FLUSH: 4,
  SEND_FUA: 8,
  SEND_TRIM: 32,
  SEND_WRITE_ZEROES: 64,
  SEND_DF: 128,
  CAN_MULTI_CONN: 256,
  SEND_FAST_ZERO: 2048
} as const

export const REQUEST_MAGIC = 0x25609513
/** magic 4, flags 2, type 2, cookie 8, offset 8, length 4. */
export const REQUEST_BYTES = 28

export const CMD = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  TRIM: 4,
  WRITE_ZEROES: 6,
  BLOCK_STATUS: 7
} as const

export const CMD_FLAG = { FUA: 1, NO_HOLE: 2, DF: 4, REQ_ONE: 8, FAST_ZERO: 16 } as const

export const SIMPLE_REPLY_MAGIC = 0x67446698
/** magic 4, error 4, cookie 8. */
export const SIMPLE_REPLY_BYTES = 16
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef
/** magic 4, flags 2, type 2, cookie 8, length 4. */
export const STRUCTURED_REPLY_BYTES = 20
export const REPLY_FLAG_DONE = 1
export const REPLY_TYPE = {
  NONE: 0,
  OFFSET_DATA: 1,
  OFFSET_HOLE: 2,
  BLOCK_STATUS: 5,
  ERROR: 0x8001
} as const

/** The one metadata context we serve, and the number that we give it on every connection. */
export const BASE_ALLOCATION = 'base:allocation'
export const BASE_ALLOCATION_ID = 1
export const STATE_HOLE = 1
export const STATE_ZERO = 2

export const NBD_ERROR = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  ENOTSUP: 95,
  ESHUTDOWN: 108
} as const

/** Advertised with NBD_INFO_BLOCK_SIZE; the maximum is `NBD_REQUEST_BYTES_MAX`. */
export const BLOCK_SIZE_MIN = 1
export const BLOCK_SIZE_PREFERRED = 4096
