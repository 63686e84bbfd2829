/** NBD servers, each in a process of its own, for the benches that compare them. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { NODE_ARGUMENTS, RUNNER_MALLOC } from '../../lib/base/node-process.ts'
import { connectUnix } from '../../lib/ipc/endpoint.ts'
import { nbdUri } from '../../lib/block/nbd/uri.ts'

export interface NbdServerProcess {
  uri: string
  pid: number
}

/** Runs a server of `test/helpers` as `node SCRIPT SOCKET …args`, with what runners are started with. */
export async function startNode(
  script: string,
  dir: string,
  args: string[],
  servers: ChildProcess[]
): Promise<NbdServerProcess> {
  const file = path.join(import.meta.dirname, '../helpers', script)
  const socket = path.join(dir, `ours-${servers.length}`)
  const child = spawn(process.execPath, [...NODE_ARGUMENTS, file, socket, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, ...RUNNER_MALLOC }
  })
  servers.push(child)
  await once(child.stdout, 'data')
  return { uri: nbdUri(socket), pid: child.pid! }
}

/** Serves a sparse file in `dir`. */
export async function startQemuNbd(
  dir: string,
  sizeBytes: number,
  servers: ChildProcess[]
): Promise<NbdServerProcess> {
  const file = path.join(dir, 'file')
  const socket = path.join(dir, 'peer')
  await writeFile(file, '')
  await truncate(file, sizeBytes)
  const args = ['--persistent', '--shared=0', '--format=raw', `--socket=${socket}`, file]
  const child = spawn('qemu-nbd', args, { stdio: ['ignore', 'ignore', 'inherit'] })
  servers.push(child)
  for (let i = 0; i < 200; i++) {
    const connection = await connectUnix(socket).catch(() => null)
    if (connection !== null) {
      connection.destroy()
      return { uri: nbdUri(socket), pid: child.pid! }
    }
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
  throw new Error('qemu-nbd did not start')
}

export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  await exited
}
