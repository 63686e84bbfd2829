/** Noise over a TCP socket, as Hyperswarm has it over UDX: pattern IK, so that the caller must know whom it calls. */
import type { Socket } from 'node:net'
import SecretStream from '@hyperswarm/secret-stream'
import type { Connection } from 'hyperswarm'
import type { KeyPair } from 'hyperdht'

/** From the first byte to the end of the handshake. */
export const HANDSHAKE_MS_MAX = 5000
const KEEP_ALIVE_MS = 5000
/** Four keep-alives did not come. */
const SILENT_MS_MAX = 20_000

/** Resolves when the far side has proven its key; null when it did not. The socket is destroyed then. */
export async function secure(
  socket: Socket,
  keyPair: KeyPair,
  remotePublicKey: Buffer | null
): Promise<Connection | null> {
  const startedMs = performance.now()
  socket.setNoDelay(true)
  const stream = new SecretStream(remotePublicKey !== null, socket, {
    pattern: 'IK',
    keyPair,
    ...(remotePublicKey === null ? {} : { remotePublicKey }),
    keepAlive: KEEP_ALIVE_MS
  })
  stream.on('error', () => {})
  // It listens by then, and would lose what came before. Of who accepts, the socket is paused since its prelude.
  setImmediate(() => socket.resume())
  const timer = setTimeout(() => stream.destroy(), HANDSHAKE_MS_MAX)
  const opened = await stream.opened
  clearTimeout(timer)
  if (!opened) {
    socket.destroy()
    return null
  }
  // A first guess; who accepts has not waited for anything.
  const rtt = remotePublicKey === null ? FIRST_RTT_MS : performance.now() - startedMs
  Object.assign(socket, { rtt })
  stream.setTimeout(SILENT_MS_MAX)
  return stream
}

const FIRST_RTT_MS = 1
