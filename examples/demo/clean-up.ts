/**
 * Takes away everything that a demo, the soak or the lab started, knowing nothing but its directory: by asking first,
 * then by ending every program of ours that has the directory in its arguments. So it works after any failure, and from
 * another process.
 */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readdir, readFile, readlink, rm } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { openHome } from '../../lib/base/paths.ts'
import { connectDaemon } from '../../lib/daemon/client.ts'
import { connectRunner } from '../../lib/daemon/runners/runner-process.ts'
import { unmount } from '../../lib/vmm/qemu/mounts.ts'

/** In the directory: names of network namespaces, one a line, noted before they are made. */
export const NAMESPACES = 'namespaces'
/** What a demo starts, and what that starts; QEMU ends with its sandbox. */
const PROGRAMS = [
  ...['node', 'prlimit', 'bwrap', 'nbdfuse', 'fusermount3', 'tcpdump'],
  ...['vde_switch', 'wirefilter', 'iperf3']
]
const COMMAND_MS = 15_000
const DAEMON_MS = 15_000
const RUNNER_MS = 10_000
const SWEEP_MS = 3000

/** Idempotent. `keep` leaves the files. */
export async function cleanUp(directory: string, keep: boolean): Promise<void> {
  const commands = await processes(directory, (line) => !/ (daemon|dht) /.test(line))
  await end(commands, 'SIGINT', COMMAND_MS)
  const homes = await homesIn(directory)
  for (const home of homes) await endDevice(home).catch(() => {}) // the sweep below takes what is left
  await end(await processes(directory), 'SIGTERM', SWEEP_MS)
  await end(await processes(directory), 'SIGKILL', SWEEP_MS)
  for (const mount of await mountsBelow(directory)) await unmount(mount)
  await removeNamespaces(directory)
  if (keep) return
  for (const home of homes) {
    const run = await readlink(path.join(home, 'run')).catch(() => null)
    if (run !== null) await rm(run, { recursive: true, force: true })
  }
  await rm(directory, { recursive: true, force: true })
}

/** Homes of devices are directories with keys. */
async function homesIn(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch(() => [])
  return names
    .map((name) => path.join(directory, name))
    .filter((home) => existsSync(path.join(home, 'keys')))
}

async function removeNamespaces(directory: string): Promise<void> {
  const text = await readFile(path.join(directory, NAMESPACES), 'utf8').catch(() => '')
  for (const name of text.split('\n').filter((line) => line !== '')) {
    await promisify(execFile)('ip', ['netns', 'delete', name]).catch(() => {}) // gone already, or never made
  }
}

/** Drops running VMs, then ends the daemon and runners that nobody has any more. */
async function endDevice(home: string): Promise<void> {
  const paths = await openHome(home)
  const client = await connectDaemon(paths)
  if (client !== null) {
    const { running } = await client.call('status', {})
    for (const name of running) await client.call('discard', { name }).catch(() => {})
    const { pid } = await client.call('daemon.stop', {})
    client.close()
    await gone([pid], DAEMON_MS)
  }
  for (const name of await readdir(paths.run).catch(() => [])) {
    const runner = await connectRunner(path.join(paths.run, name), {})
    if (runner === null) continue
    const closed = once(runner.channel, 'close', { signal: AbortSignal.timeout(RUNNER_MS) })
    await runner.call('quit', { dropOverlays: true }).catch(() => {})
    await closed.catch(() => {})
  }
}

/** Ids of our programs with that directory in their arguments, this process excepted. */
export async function processes(
  directory: string,
  which: (commandLine: string) => boolean = () => true
): Promise<number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    // Asking a VMM that waits for a page for its arguments may wait as long; its name is free.
    const short = await readFile(`/proc/${pid}/comm`, 'latin1').catch(() => '')
    if (short.startsWith('qemu-')) continue
    const raw = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')
    const program = path.basename(/^[^\0 ]*/.exec(raw)![0]) // a title has spaces for them
    if (!PROGRAMS.includes(program) && program !== path.basename(process.execPath)) continue
    const line = `${raw.replaceAll('\0', ' ')} `
    if (line.includes(`${directory}/`) && which(line)) found.push(pid)
  }
  return found
}

async function end(pids: number[], signal: NodeJS.Signals, timeoutMs: number): Promise<void> {
  for (const pid of pids) {
    try {
      process.kill(pid, signal)
    } catch {
      // gone already
    }
  }
  await gone(pids, timeoutMs)
}

async function gone(pids: number[], timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (pids.some(alive) && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

export async function mountsBelow(directory: string): Promise<string[]> {
  const table = await readFile('/proc/self/mountinfo', 'utf8')
  return table
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((mount) => mount.startsWith(`${directory}/`))
}
