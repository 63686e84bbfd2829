/** A daemon's socket with canned answers, for tests of its clients. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import type { Assert } from 'brittle'
import { openHome, type HomePaths } from '../../lib/base/paths.ts'
import type { Api, MethodName } from '../../lib/daemon/api.ts'
import { Channel, type Handler, type Handlers, type RequestContext } from '../../lib/ipc/channel.ts'
import { listenUnix } from '../../lib/ipc/endpoint.ts'

export type FakeHandlers = {
  [M in MethodName]?: (
    params: Api[M]['params'],
    context: RequestContext
  ) => Api[M]['result'] | Promise<Api[M]['result']>
}

export interface Call {
  method: string
  params: unknown
}

export interface FakeDaemon {
  paths: HomePaths
  /** Everything that was asked, in order. */
  calls: Call[]
  /** Drops all connections and stops listening. */
  stop(): Promise<void>
}

/** A fresh home that looks like a device of some fleet; removed after the test. */
export async function temporaryHome(t: Assert): Promise<HomePaths> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'hpc-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }), { force: true })
  const paths = await openHome(path.join(directory, 'home'))
  await writeFile(path.join(paths.keys, 'device'), '')
  return paths
}

export async function startFakeDaemon(
  t: Assert,
  handlers: FakeHandlers,
  home?: HomePaths
): Promise<FakeDaemon> {
  const paths = home ?? (await temporaryHome(t))
  const calls: Call[] = []
  const channels = new Set<Channel>()
  const recorded: Handlers = {}
  for (const [method, handler] of Object.entries(handlers)) {
    recorded[method] = (params, context) => {
      calls.push({ method, params })
      return (handler as Handler)(params, context)
    }
  }
  const server = await listenUnix(paths.daemonSocket, (socket) => {
    const channel = new Channel(socket, recorded)
    channels.add(channel)
    channel.once('close', () => channels.delete(channel))
  })
  const stop = async () => {
    for (const channel of channels) channel.socket.destroy()
    await new Promise<void>((resolve) => server.close(() => resolve()))
  }
  t.teardown(stop)
  return { paths, calls, stop }
}
