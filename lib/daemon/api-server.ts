/** The daemon's socket: each connection gets the methods of `api.ts`, checked for a fleet, with their rules on cancelling. */
import type { Socket } from 'node:net'
import { Channel, type Handlers, type RequestContext } from '../ipc/channel.ts'
import { METHODS, obeyedSignal, type MethodName, type Params, type Result } from './api.ts'
import type { LowSpace } from './api-versions.ts'
import type { CacheNode } from './cache/cache-node.ts'
import type { Daemon } from './daemon.ts'
import type { UseCaseContext } from './use-cases/context.ts'
import { cacheDevices, cacheLs, cacheStats, cacheStatus } from './use-cases/cache.ts'
import { create } from './use-cases/create.ts'
import { evict } from './use-cases/evict.ts'
import { hoard } from './use-cases/hoard.ts'
import { push } from './use-cases/push.ts'
import { stats } from './use-cases/stats.ts'
import { init, invite, join } from './use-cases/fleet.ts'
import { consoleOf, devices, lease, log, ls, show } from './use-cases/look.ts'
import { lookasideAdd, lookasideFill, lookasideLs, lookasideRemove } from './use-cases/lookaside.ts'
import { discard, poweroff } from './use-cases/power-off.ts'
import { prune } from './use-cases/prune.ts'
import { remove, rename } from './use-cases/rename.ts'
import { resume } from './use-cases/resume.ts'
import { rollback } from './use-cases/rollback.ts'
import { exportVolume, serve, serveStop } from './use-cases/serve.ts'
import { config, daemonStatus, status } from './use-cases/status.ts'
import { verify } from './use-cases/verify.ts'
import { checkpoint, suspend } from './use-cases/suspend.ts'

type UseCase<M extends MethodName> = (
  daemon: Daemon,
  params: Params<M>,
  context: UseCaseContext
) => Result<M> | Promise<Result<M>>

type UseCases = { [M in MethodName]: UseCase<M> }

const USE_CASES: UseCases = {
  init,
  join,
  invite: (daemon, params, context) => invite(daemon.node, params, context),
  devices: (daemon) => devices(daemon.node),
  'daemon.status': (daemon) => daemonStatus(daemon),
  'daemon.stop': (daemon) => {
    setImmediate(() => daemon.emit('stop'))
    return { pid: process.pid }
  },
  create: (daemon, params, context) => warned(daemon, create(daemon.node, params, context)),
  ls: (daemon) => ls(daemon.node),
  show: (daemon, params) => show(daemon.node, params),
  log: (daemon, params) => log(daemon.node, params),
  resume: (daemon, params, context) => resume(daemon.node, params, context),
  console: (daemon, params) => consoleOf(daemon.node, params),
  suspend: (daemon, params, context) => warned(daemon, suspend(daemon.node, params, context)),
  checkpoint: (daemon, params, context) => warned(daemon, checkpoint(daemon.node, params, context)),
  poweroff: (daemon, params, context) => poweroff(daemon.node, params, context),
  discard: (daemon, params) => discard(daemon.node, params),
  serve: (daemon, params, context) => serve(daemon.node, params, context),
  'serve.stop': (daemon, params) => serveStop(daemon.node, params),
  export: (daemon, params, context) => exportVolume(daemon.node, params, context),
  lease: (daemon, params) => lease(daemon.node, params),
  status: (daemon) => status(daemon),
  config: (daemon, params) => config(daemon, params),
  verify: (daemon, params, context) => verify(daemon.node, params, context),
  evict: (daemon, params, context) => evict(daemon.node, params, context),
  hoard: (daemon, params, context) => hoard(daemon.node, params, context),
  push: (daemon, params, context) => push(daemon.node, params, context),
  prune: (daemon, params, context) => prune(daemon.node, params, context),
  stats: (daemon, params) => stats(daemon.node, params),
  'lookaside.add': (daemon, params, context) => lookasideAdd(daemon.node, params, context),
  'lookaside.fill': (daemon, params, context) => lookasideFill(daemon.node, params, context),
  'lookaside.ls': (daemon) => lookasideLs(daemon.node),
  'lookaside.remove': (daemon, params) => lookasideRemove(daemon.node, params),
  rename: (daemon, params) => rename(daemon.node, params),
  remove: (daemon, params, context) => remove(daemon.node, params, context),
  rollback: (daemon, params, context) => rollback(daemon.node, params, context)
}

type CacheUseCases = {
  [M in MethodName]?: (node: CacheNode, params: Params<M>) => Result<M> | Promise<Result<M>>
}

/** What a cache answers in its own way. What is not here and needs a fleet answers `IS_CACHE`. */
const CACHE_USE_CASES: CacheUseCases = {
  devices: (node) => cacheDevices(node),
  ls: (node) => cacheLs(node),
  stats: (node, params) => cacheStats(node, params),
  status: (node) => cacheStatus(node)
}

/** With a warning where the disk fills up. */
async function warned<T extends { low_space?: LowSpace }>(
  daemon: Daemon,
  work: Promise<T>
): Promise<T> {
  const made = await work
  const low = await daemon.node.lowSpace.look()
  return low === null ? made : { ...made, low_space: low }
}

/** Serves one client. */
export function serveClient(daemon: Daemon, socket: Socket): void {
  const onclose: (() => void)[] = []
  const handlers: Handlers = {}
  for (const method of Object.keys(USE_CASES) as MethodName[]) {
    handlers[method] = (params: Params<typeof method>, context) =>
      run(daemon, method, params, context, onclose)
  }
  const channel = new Channel(socket, handlers)
  channel.once('close', () => {
    for (const fn of onclose) fn()
  })
}

async function run<M extends MethodName>(
  daemon: Daemon,
  method: M,
  params: Params<M>,
  request: RequestContext,
  onclose: (() => void)[]
): Promise<Result<M>> {
  const cache = daemon.cacheOrNull
  const onCache = CACHE_USE_CASES[method]
  if (cache !== null && onCache !== undefined) return onCache(cache, params)
  if (METHODS[method].withoutFleet !== true) void daemon.node // throws NO_FLEET
  const useCase = USE_CASES[method] as UseCase<M>
  return useCase(daemon, params, {
    signal: obeyedSignal(method, request.signal),
    progress: (event) => request.event(event),
    onclose: (fn) => void onclose.push(fn)
  })
}
