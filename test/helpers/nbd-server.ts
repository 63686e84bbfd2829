/** An NBD server for one test, on a socket in a directory of its own. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Assert } from 'brittle'
import { NbdServer, type NbdServerOptions } from '../../lib/block/nbd/server.ts'

export async function startNbdServer(
  t: Assert,
  opts: Omit<NbdServerOptions, 'socketPath'>
): Promise<NbdServer> {
  const directory = await mkdtemp(path.join(tmpdir(), 'nbd-'))
  const server = new NbdServer({ socketPath: path.join(directory, 's'), ...opts })
  t.teardown(
    async () => {
      await server.close()
      await rm(directory, { recursive: true, force: true })
    },
    { force: true }
  )
  await server.ready()
  return server
}

/** Polls, because the other side of a socket needs a moment. */
export async function until(condition: () => boolean, timeoutMs = 5000): Promise<boolean> {
  const deadline = performance.now() + timeoutMs
  while (!condition()) {
    if (performance.now() > deadline) return false
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  return true
}
