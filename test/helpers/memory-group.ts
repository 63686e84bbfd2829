/**
 * A control group that limits memory, page cache and mapped files included: of version 2 where that has the memory
 * controller, else of version 1. Needs root.
 */
import { existsSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import type { Assert } from 'brittle'
import { until } from './until.ts'

const ROOTS = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified']
const ROOT_V1 = '/sys/fs/cgroup/memory'

export class MemoryGroup {
  readonly version: 1 | 2
  readonly #directory: string

  private constructor(version: 1 | 2, directory: string) {
    this.version = version
    this.#directory = directory
  }

  /** Null where this machine has none. It goes when the last process in it has ended. */
  static async open(t: Assert): Promise<MemoryGroup | null> {
    const name = `hyperparcel-test-${process.pid}`
    const v2 = ROOTS.find((root) => read(root, 'cgroup.controllers').split(/\s/).includes('memory'))
    let group: MemoryGroup
    if (v2 !== undefined) {
      writeFileSync(path.join(v2, 'cgroup.subtree_control'), '+memory')
      group = new MemoryGroup(2, path.join(v2, name))
    } else if (existsSync(path.join(ROOT_V1, 'memory.limit_in_bytes'))) {
      group = new MemoryGroup(1, path.join(ROOT_V1, name))
    } else {
      return null
    }
    await mkdir(group.#directory)
    t.teardown(() => until(() => group.#remove()), { force: true, order: 120 })
    return group
  }

  /** Starts a program in it. */
  get through(): string[] {
    const join = `echo $$ > ${path.join(this.#directory, 'cgroup.procs')} && exec "$@"`
    return ['sh', '-c', join, 'sh']
  }

  /** Moves a process that runs already; what it has used so far stays where it was counted. */
  add(pid: number): void {
    writeFileSync(path.join(this.#directory, 'cgroup.procs'), String(pid))
  }

  limit(bytes: number): void {
    const file = this.version === 2 ? 'memory.max' : 'memory.limit_in_bytes'
    writeFileSync(path.join(this.#directory, file), String(Math.floor(bytes)))
  }

  /** Bytes of all that is in it, and of what no disk or mount can take back. */
  get used(): { all: number; anonymous: number } {
    const all = read(
      this.#directory,
      this.version === 2 ? 'memory.current' : 'memory.usage_in_bytes'
    )
    const field = this.version === 2 ? 'anon' : 'total_rss'
    const stat = new RegExp(`^${field} (\\d+)$`, 'm').exec(read(this.#directory, 'memory.stat'))
    return { all: Number(all), anonymous: Number(stat?.[1]) }
  }

  /** How often it was full, and processes that the kernel ended for it. */
  get pressure(): { full: number; killed: number } {
    const events = read(
      this.#directory,
      this.version === 2 ? 'memory.events' : 'memory.oom_control'
    )
    const value = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(events)?.[1])
    const full = this.version === 2 ? value('max') : Number(read(this.#directory, 'memory.failcnt'))
    return { full, killed: value('oom_kill') }
  }

  #remove(): boolean {
    try {
      rmdirSync(this.#directory)
      return true
    } catch {
      return !existsSync(this.#directory)
    }
  }
}

function read(directory: string, file: string): string {
  try {
    return readFileSync(path.join(directory, file), 'utf8')
  } catch {
    return ''
  }
}
