/** Channels over real Unix sockets. */
import type { Assert } from 'brittle'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import path from 'node:path'
import { Channel, type Handlers } from '../../lib/ipc/channel.ts'
import { connectUnix, listenUnix } from '../../lib/ipc/endpoint.ts'

export interface SocketPair {
  near: Socket
  far: Socket
}

/** Two ends of a connection, closed after the test. */
export async function socketPair(t: Assert): Promise<SocketPair> {
  const file = path.join(await t.tmp(), 's')
  const accepted: Socket[] = []
  const server = await listenUnix(file, (socket) => {
    accepted.push(socket)
    server.emit('accepted')
  })
  const [near] = await Promise.all([connectUnix(file), once(server, 'accepted')])
  const [far] = accepted
  server.close()
  t.teardown(() => {
    near.destroy()
    far.destroy()
  })
  return { near, far }
}

/** A channel at each end. */
export async function channelPair(
  t: Assert,
  nearHandlers: Handlers,
  farHandlers: Handlers
): Promise<{ near: Channel; far: Channel }> {
  const { near, far } = await socketPair(t)
  return { near: new Channel(near, nearHandlers), far: new Channel(far, farHandlers) }
}
