/**
 * Listening and connecting on Unix sockets: mode 0600, a stale socket replaced, paths that fit (107 bytes).
 */
import { chmod, rm } from 'node:fs/promises'
import net from 'node:net'
import { SOCKET_PATH_BYTES_MAX } from '../base/limits.ts'
import { HyperparcelError, assert } from '../base/errors.ts'

/**
 * Listens on `path`. A socket file that nobody answers on is replaced.
 * Rejects with `SOCKET_IN_USE` when somebody answers, `SOCKET_PATH_TOO_LONG` when the path does not fit, or with
 * the system's error when nobody can tell.
 */
export async function listenUnix(
  path: string,
  onconnection: (socket: net.Socket) => void,
  opts: net.ServerOpts = {}
): Promise<net.Server> {
  checkSocketPath(path)
  const alive = await connectUnix(path).catch(nobodyThere)
  if (alive !== null) {
    alive.destroy()
    throw new HyperparcelError('SOCKET_IN_USE', `Another process already listens on ${path}`)
  }
  await rm(path, { force: true })
  const server = net.createServer(opts, onconnection)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    // It binds before it returns; the mask is that of the whole process, so only for that long.
    const mask = process.umask(0o177)
    try {
      server.listen(path, resolve)
    } finally {
      process.umask(mask)
    }
  })
  await chmod(path, 0o600)
  return server
}

/** Anything else than these may be a listener that is busy. */
function nobodyThere(err: unknown): null {
  if (['ENOENT', 'ECONNREFUSED'].includes((err as { code: string }).code)) return null
  throw err
}

/** Read at once by a connection with `ondata`. */
const READ_BYTES = 256 * 1024

/**
 * Connects, or rejects with the system's error (`ENOENT`, `ECONNREFUSED` when nobody listens).
 * @param ondata gets what arrives, in place of `data` events, in one buffer that is used again and again: where much
 *   arrives, that spares the memory of each piece
 */
export function connectUnix(path: string, ondata?: (data: Buffer) => void): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(ondata === undefined ? { path } : { path, onread: into(ondata) })
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.off('error', reject)
      resolve(socket)
    })
  })
}

/**
 * Makes an accepted socket read into memory of the caller, where Node can do so only for sockets that connect: its
 * handle moves to a socket of its own, which is returned. The server must have `pauseOnConnect`, and does not count it
 * any more.
 * @param room memory to read into; asked for after each `onreceived`
 * @param onreceived so many bytes were read into the last room
 */
export function readInto(
  accepted: net.Socket,
  room: () => Buffer,
  onreceived: (bytes: number) => void
): net.Socket {
  const holder = accepted as net.Socket & { _handle: unknown }
  const handle = holder._handle
  assert(handle, 'an accepted socket has no handle')
  holder._handle = null
  accepted.destroy()
  const callback = (bytes: number) => {
    onreceived(bytes)
    return true
  }
  const onread = { buffer: room, callback } as unknown as net.OnReadOpts
  const options: net.SocketConstructorOpts & { handle: unknown; onread: net.OnReadOpts } = {
    handle,
    onread
  }
  return new net.Socket(options)
}

function into(ondata: (data: Buffer) => void): net.OnReadOpts {
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
  const callback = (bytes: number) => {
    ondata(buffer.subarray(0, bytes))
    return true
  }
  return { buffer, callback }
}

export function checkSocketPath(path: string): void {
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX) {
    throw new HyperparcelError(
      'SOCKET_PATH_TOO_LONG',
      `The path ${path} is too long for a Unix socket (${SOCKET_PATH_BYTES_MAX} bytes at most)`
    )
  }
}
