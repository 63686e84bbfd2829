/** The demo, the soak and the lab as a user runs them: a process with a directory of its own, which it leaves clean. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import type { Assert } from 'brittle'
import { ROOT } from './sources.ts'
import { until } from './until.ts'

const SCRIPTS = {
  demo: 'dist/examples/demo.js',
  soak: 'dist/test/soak/run.js',
  lab: 'dist/test/lab/run.js'
}
const GONE_MS = 60_000

export interface Story {
  child: ChildProcess
  stdout(): string
  output(): string
  /** Resolves when it said that, or ended. */
  saw(text: string): Promise<void>
  ended: Promise<number | null>
  /** Neither files nor processes nor mounts of it are there any more. */
  nothingLeft(): Promise<void>
}

/** It uses the kept guest of the other tests. */
export function startStory(t: Assert, name: keyof typeof SCRIPTS, ...args: string[]): Story {
  const cache = process.env['HYPERPARCEL_TEST_CACHE'] ?? ''
  const directory = cache || os.tmpdir()
  const child = spawn(process.execPath, [path.join(ROOT, SCRIPTS[name]), ...args], {
    env: { ...process.env, HYPERPARCEL_DEMO_DIR: cache },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()))
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()))
  t.teardown(() => child.kill('SIGKILL'))
  const own = `hyperparcel-${name}-${child.pid}-`
  return {
    child,
    stdout: () => stdout,
    output: () => stdout + stderr,
    saw: (text) => until(() => (stdout + stderr).includes(text) || child.exitCode !== null),
    ended: once(child, 'close').then(([code]) => code as number | null),
    async nothingLeft() {
      const end = performance.now() + GONE_MS
      while ((await leftOf(directory, own)).length > 0 && performance.now() < end) {
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
      t.alike(await leftOf(directory, own), [])
    }
  }
}

async function leftOf(directory: string, own: string): Promise<string[]> {
  const names = (await readdir(directory)).filter((name) => name.startsWith(own))
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8'))
    .split('\n')
    .filter((line) => line.includes(own))
  return [...names, ...mounts, ...(await processesWith(own))]
}

async function processesWith(text: string): Promise<string[]> {
  const found: string[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    // QEMU may wait for a page, and with it whoever reads its arguments; while it lives its sandbox does
    const short = await readFile(`/proc/${name}/comm`, 'latin1').catch(() => '')
    if (short.startsWith('qemu-')) continue
    const line = await readFile(`/proc/${name}/cmdline`, 'latin1').catch(() => '')
    if (line.includes(text)) found.push(line.replaceAll('\0', ' '))
  }
  return found
}
