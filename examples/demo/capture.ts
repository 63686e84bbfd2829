/**
 * The traffic between the devices, as the kernel sees it, by tcpdump: UDP and TCP on the loopback interface, to or
 * from a port of one of the two daemons. It counts only when it is whole: nothing dropped, the daemons' ports still
 * the same at the end, and a datagram that we send ourselves was caught.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { open, readdir, readFile, readlink } from 'node:fs/promises'
import { searchFile, type Hit, type Needle } from './search.ts'

/** A state in the kernel's tables. */
const LISTEN = '0A'
const START_MS = 10_000
/** Packets wait in the kernel for up to a second before they reach the file. */
const SETTLE_MS = 10_000
const TAIL_BYTES = 1024 * 1024
const BUFFER_KIB = 64 * 1024

export interface Captured {
  bytes: number
  packets: number
  hits: Hit[]
  controlHits: number
  /** Null when it is whole. */
  incomplete: string | null
}

export class Capture {
  readonly #child: ChildProcess
  readonly #file: string
  readonly #pids: number[]
  readonly #ports: number[]
  readonly #socket: Socket
  #said = ''

  private constructor(file: string, pids: number[], ports: number[], socket: Socket) {
    this.#file = file
    this.#pids = pids
    this.#ports = ports
    this.#socket = socket
    const own = socket.address().port
    const filter = [...ports, own].map((port) => `port ${port}`).join(' or ')
    const options = ['-i', 'lo', '-n', '-s', '0', '-B', String(BUFFER_KIB), '-U', '-Z', 'root']
    this.#child = spawn('tcpdump', [...options, '-w', file, filter], {
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
      env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` }
    })
    this.#child.on('error', (err) => (this.#said += err.message))
    this.#child.stderr!.on('data', (data: Buffer) => (this.#said += data.toString()))
  }

  /** Rejects with why there is none: no root, no tcpdump. */
  static async start(file: string, pids: number[]): Promise<Capture> {
    if (process.getuid?.() !== 0) throw new Error('only root may capture traffic')
    const ports = await portsOf(pids)
    const socket = createSocket('udp4')
    socket.bind(0, '127.0.0.1')
    await once(socket, 'listening')
    const capture = new Capture(file, pids, ports, socket)
    const end = performance.now() + START_MS
    while (!capture.#said.includes('listening on')) {
      if (capture.#ended || performance.now() > end) {
        socket.close()
        capture.#child.kill('SIGKILL')
        throw new Error(`tcpdump does not start: ${capture.#said.trim() || 'no answer'}`)
      }
      await sleep(10)
    }
    return capture
  }

  /** Ends it and searches it. */
  async finish(needles: Needle[], control: Needle): Promise<Captured> {
    this.#socket.send(control.bytes, this.#socket.address().port, '127.0.0.1')
    const end = performance.now() + SETTLE_MS
    while (!(await endsWith(this.#file, control.bytes)) && performance.now() < end) await sleep(50)
    const same = JSON.stringify(await portsOf(this.#pids)) === JSON.stringify(this.#ports)
    if (!this.#ended) {
      this.#child.kill('SIGINT')
      await once(this.#child, 'exit')
    }
    this.#socket.close()
    const packets = Number(/(\d+) packets captured/.exec(this.#said)?.[1] ?? 0)
    const dropped = Number(/(\d+) packets dropped by kernel/.exec(this.#said)?.[1] ?? -1)
    const { bytes, hits } = await searchFile(this.#file, [...needles, control])
    const controlHits = hits.filter((hit) => hit.needle === control.name).length
    let incomplete: string | null = null
    if (dropped !== 0) incomplete = `the kernel dropped ${dropped} packets`
    else if (!same) incomplete = 'a daemon opened another port meanwhile'
    else if (controlHits === 0) incomplete = 'our own datagram was not caught'
    const others = hits.filter((hit) => hit.needle !== control.name)
    return { bytes, packets, hits: others, controlHits, incomplete }
  }

  get #ended(): boolean {
    return this.#child.pid === undefined || this.#child.exitCode !== null
  }
}

/** UDP ports that these processes have open, and TCP ports on which they listen, sorted; see proc(5). */
async function portsOf(pids: number[]): Promise<number[]> {
  const inodes = new Set<string>()
  const ports = new Set<number>()
  for (const pid of pids) {
    for (const descriptor of await readdir(`/proc/${pid}/fd`)) {
      const target = await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => '')
      const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1]
      if (inode !== undefined) inodes.add(inode)
    }
    for (const table of ['udp', 'udp6', 'tcp', 'tcp6']) {
      const lines = (await readFile(`/proc/${pid}/net/${table}`, 'utf8')).trim().split('\n')
      for (const line of lines.slice(1)) {
        const fields = line.trim().split(/\s+/)
        if (table.startsWith('tcp') && fields[3] !== LISTEN) continue
        if (inodes.has(fields[9])) ports.add(Number.parseInt(fields[1].split(':')[1], 16))
      }
    }
  }
  return [...ports].sort((a, b) => a - b)
}

/** Is it among the last bytes of that file? */
async function endsWith(file: string, bytes: Buffer): Promise<boolean> {
  const handle = await open(file)
  try {
    const { size } = await handle.stat()
    const tail = Buffer.alloc(Math.min(size, TAIL_BYTES))
    const { bytesRead } = await handle.read(tail, 0, tail.byteLength, size - tail.byteLength)
    return tail.subarray(0, bytesRead).includes(bytes)
  } finally {
    await handle.close()
  }
}

function sleep(durationMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, durationMs))
}
