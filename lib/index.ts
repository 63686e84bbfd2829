/**
 * The public API: what the command line itself is made of. A program talks to the daemon of a home, and starts
 * it where none runs; methods and their types are in `Api`.
 *
 *   const paths = await openHome(resolveHome())
 *   const daemon = await connectOrStartDaemon(paths)
 *   const { parcels } = await daemon.call('ls', {})
 *   daemon.close()
 */
export { EXIT, HyperparcelError, type ErrorShape } from './base/errors.ts'
export { openHome, resolveHome, type HomePaths } from './base/paths.ts'
export type { Progress } from './base/progress.ts'
export type * from './daemon/api.ts'
export { DaemonClient, connectDaemon, connectOrStartDaemon } from './daemon/client.ts'
