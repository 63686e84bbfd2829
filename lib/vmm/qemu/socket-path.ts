/** A Unix socket's path has at most 107 bytes; QEMU and nbdfuse would cut or refuse a longer one. */
import { HyperparcelError } from '../../base/errors.ts'
import { SOCKET_PATH_BYTES_MAX } from '../../base/limits.ts'

export function checkSocketPath(file: string): string {
  if (Buffer.byteLength(file) > SOCKET_PATH_BYTES_MAX) {
    throw new HyperparcelError(
      'SOCKET_PATH_TOO_LONG',
      `The path of a socket is too long: ${file}`,
      {
        hint: 'Choose a home or runtime directory with a shorter path.'
      }
    )
  }
  return file
}
