/** Calls a device at an address. */
import net, { type Socket } from 'node:net'
import type { Connection } from 'hyperswarm'
import type { KeyPair } from 'hyperdht'
import { encodePrelude, type Endpoint } from '../../format/lan.ts'
import { createHello, type LanTarget } from './hello.ts'
import type { LanInterface } from './interfaces.ts'
import { HANDSHAKE_MS_MAX, secure } from './noise.ts'

/** Null when that device does not answer there. */
export async function dial(
  { host, port }: Endpoint,
  at: LanInterface,
  keyPair: KeyPair,
  target: LanTarget
): Promise<Connection | null> {
  const socket = net.connect({ host, port, localAddress: at.address })
  if (!(await isConnected(socket))) return null
  socket.write(encodePrelude(createHello(target)))
  return secure(socket, keyPair, target.publicKey)
}

function isConnected(socket: Socket): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => socket.destroy(), HANDSHAKE_MS_MAX)
    socket.on('error', () => {})
    socket.once('close', () => settle(false))
    socket.once('connect', () => settle(true))
    const settle = (ok: boolean) => {
      clearTimeout(timer)
      resolve(ok)
    }
  })
}
