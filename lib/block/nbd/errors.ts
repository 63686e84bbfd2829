import { NBD_ERROR } from './protocol.ts'

/** Code of a device's error → error on the wire. Everything else is EIO. */
const NBD_ERROR_OF_CODE: Readonly<Record<string, number>> = {
  DISK_FULL: NBD_ERROR.ENOSPC,
  ENOSPC: NBD_ERROR.ENOSPC,
  EDQUOT: NBD_ERROR.ENOSPC,
  READ_ONLY: NBD_ERROR.EPERM,
  EROFS: NBD_ERROR.EPERM,
  EPERM: NBD_ERROR.EPERM,
  ENOMEM: NBD_ERROR.ENOMEM,
  DEVICE_CLOSED: NBD_ERROR.ESHUTDOWN,
  DATA_CORRUPT: NBD_ERROR.EIO
}

export function nbdErrorOf(err: unknown): number {
  const code = (err as { code?: unknown } | null)?.code
  return (typeof code === 'string' ? NBD_ERROR_OF_CODE[code] : undefined) ?? NBD_ERROR.EIO
}
