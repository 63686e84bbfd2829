/**
 * The data-plane process at work: it serves one daemon at a time on its socket, which tells it everything else, and
 * outlives the daemon as long as it has a VM or exports.
 */
import { rm } from 'node:fs/promises'
import process from 'node:process'
import { HyperparcelError } from '../base/errors.ts'
import { exit } from '../base/exit.ts'
import { Channel } from '../ipc/channel.ts'
import { listenUnix } from '../ipc/endpoint.ts'
import { QemuDriver } from '../vmm/qemu/driver.ts'
import { Host } from './host.ts'
import { Session } from './session.ts'

/** Without a daemon and without anything to keep, the process ends after this. */
const ORPHAN_MS = 30_000

/** Resolves when it listens. */
export async function runRunner(socketPath: string): Promise<void> {
  const host = new Host()
  const session = new Session({
    host,
    driver(name, cacheDirectory) {
      if (name === 'qemu') return new QemuDriver({ cacheDirectory })
      throw new HyperparcelError('VMM_MISMATCH', `This device has no VMM named ${name}`)
    },
    onend: end
  })

  // Before it listens: the daemon may connect before we get to go on here.
  let orphan = setTimeout(endIfIdle, ORPHAN_MS)
  const server = await listenUnix(socketPath, (socket) => {
    clearTimeout(orphan)
    host.attach(new Channel(socket, session.handlers()))
  })
  host.on('detach', () => (orphan = setTimeout(endIfIdle, ORPHAN_MS)))

  // A terminal's Ctrl-C or a service manager's stop is the daemon's business; a VM must not die of it.
  process.on('SIGINT', () => {})
  process.on('SIGHUP', () => {})
  process.on('SIGTERM', () => {
    session.close(false).then(end, end)
  })

  function endIfIdle(): void {
    const { state } = session.status()
    if (state === 'idle') end()
    else orphan = setTimeout(endIfIdle, ORPHAN_MS)
  }

  function end(): void {
    server.close()
    void rm(socketPath, { force: true }).finally(() => exit(0))
  }
}
