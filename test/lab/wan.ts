/**
 * A wide area network on this machine: hosts are network namespaces, sites are Ethernets of their own (`vde_switch`)
 * that hosts have a tap in, and sites are joined by `wirefilter`, which gives a link its rate, delay and loss in user
 * space.
 *
 *   dht, home ── site home ──▷ link ◁── site office ── office, cache
 *                          ──▷ link ◁── site far ── far
 *
 * All processes have the directory in their arguments and namespaces are noted there, so `clean-up.ts` finds them.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { appendFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { NAMESPACES } from '../../examples/demo/clean-up.ts'
import { HyperparcelError } from '../../lib/base/errors.ts'

const run = promisify(execFile)

const START_MS = 30_000
const POLL_MS = 20
/** A switch needs a moment to accept a plug after it has made its socket, and to forget one. */
const SETTLE_MS = 200
/** What a router keeps before it drops: so much time at the rate, and at least so many bytes. */
const QUEUE_MS = 100
const QUEUE_BYTES_MIN = 64 * 1024

export interface Shape {
  /** Megabits a second, each way; null: as fast as it goes. */
  mbps: number | null
  rttMs: number
  /** Of frames, each way. */
  lossPercent?: number
}

export class Host {
  readonly name: string
  readonly address: string
  readonly namespace: string

  constructor(name: string, address: string, namespace: string) {
    this.name = name
    this.address = address
    this.namespace = namespace
  }

  /** What starts a program in it, but for the network in the same world. */
  get through(): string[] {
    return ['nsenter', `--net=/run/netns/${this.namespace}`]
  }
}

export class Wan {
  readonly #directory: string
  readonly #sites = new Map<string, ChildProcess>()
  readonly #links = new Map<string, ChildProcess>()
  readonly #hosts = new Map<string, Host>()

  private constructor(directory: string) {
    this.#directory = directory
  }

  /** `sites`: names of hosts by site. Names are short, for names of interfaces. */
  static async open(directory: string, sites: Record<string, string[]>): Promise<Wan> {
    const wan = new Wan(directory)
    for (const [site, hosts] of Object.entries(sites)) await wan.#open(site, hosts)
    return wan
  }

  host(name: string): Host {
    const host = this.#hosts.get(name)
    if (host === undefined) throw new HyperparcelError('LAB_FAILED', `There is no host ${name}`)
    return host
  }

  /** Joins two sites, or changes how they are joined. */
  async join(a: string, b: string, shape: Shape): Promise<void> {
    const name = `${a}-${b}`
    await stop(this.#links.get(name))
    const args = ['-v', `${this.#socket(a)}:${this.#socket(b)}`, '-d', String(shape.rttMs / 2)]
    if (shape.mbps !== null) {
      const bytesPerSecond = (shape.mbps * 1e6) / 8
      const queue = Math.max(QUEUE_BYTES_MIN, (bytesPerSecond * QUEUE_MS) / 1000)
      args.push('-b', String(Math.round(bytesPerSecond)), '-c', String(Math.round(queue)))
    }
    if (shape.lossPercent !== undefined) args.push('-l', String(shape.lossPercent))
    this.#links.set(name, start('wirefilter', args))
    await sleep(SETTLE_MS)
  }

  /** Nothing passes between them any more. */
  async cut(a: string, b: string): Promise<void> {
    await stop(this.#links.get(`${a}-${b}`))
    this.#links.delete(`${a}-${b}`)
  }

  /** Ends links and switches; `clean-up.ts` takes the namespaces. */
  async close(): Promise<void> {
    for (const child of [...this.#links.values(), ...this.#sites.values()]) await stop(child)
  }

  async #open(site: string, names: string[]): Promise<void> {
    const hosts = names.map((name) => {
      const address = `10.77.0.${this.#hosts.size + 1}`
      const host = new Host(name, address, `hp${process.pid}${name}`)
      this.#hosts.set(name, host)
      return host
    })
    const taps = hosts.flatMap((host) => ['-tap', tapOf(host)])
    this.#sites.set(site, start('vde_switch', ['-s', this.#socket(site), ...taps]))
    const end = performance.now() + START_MS
    const there = () => hosts.every((host) => existsSync(`/sys/class/net/${tapOf(host)}`))
    while (!there() || !existsSync(path.join(this.#socket(site), 'ctl'))) {
      if (performance.now() > end) {
        throw new HyperparcelError('LAB_FAILED', `vde_switch does not make ${taps.join(' ')}`)
      }
      await sleep(POLL_MS)
    }
    for (const host of hosts) await this.#move(host)
    await sleep(SETTLE_MS)
  }

  async #move(host: Host): Promise<void> {
    const { namespace, address } = host
    const tap = tapOf(host)
    await appendFile(path.join(this.#directory, NAMESPACES), `${namespace}\n`)
    await run('ip', ['netns', 'add', namespace])
    await run('ip', ['link', 'set', tap, 'netns', namespace])
    await run('ip', ['-n', namespace, 'addr', 'add', `${address}/24`, 'dev', tap])
    await run('ip', ['-n', namespace, 'link', 'set', 'lo', 'up'])
    await run('ip', ['-n', namespace, 'link', 'set', tap, 'up'])
  }

  #socket(site: string): string {
    return path.join(this.#directory, `${site}.vde`)
  }
}

function tapOf({ namespace }: Host): string {
  return namespace
}

/** Its stdin stays open as long as this process lives: then a `vde_switch` ends by itself. */
function start(program: string, args: string[]): ChildProcess {
  return spawn(program, args, { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
}

async function stop(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  await ended
}

function sleep(durationMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, durationMs))
}
