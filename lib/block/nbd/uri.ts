/**
 * An NBD URI for an export on a Unix socket
 * (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md), as libnbd, qemu and fio take it.
 */
export function nbdUri(socketPath: string, exportName = ''): string {
  const socket = encodeURIComponent(socketPath).replaceAll('%2F', '/')
  return `nbd+unix:///${encodeURIComponent(exportName)}?socket=${socket}`
}
