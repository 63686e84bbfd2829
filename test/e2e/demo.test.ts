/** `npm run demo` as a user runs it: its figures, and that it leaves nothing behind, however it ends. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import test, { type Assert } from 'brittle'
import { failures, type Figures } from '../../examples/demo/figures.ts'
import { need, type RequirementName } from '../helpers/requirements.ts'
import { ROOT } from '../helpers/sources.ts'
import { until } from '../helpers/until.ts'

const NEEDS: RequirementName[] = ['root', 'qemu', 'fuse', 'bubblewrap', 'apt-get', 'e2fsprogs']
const MEMORY_BYTES = 192 * 1024 * 1024
const DEMO_MS = 300_000
const GONE_MS = 60_000

test('demo: a VM goes to the office and back', { timeout: DEMO_MS }, async (t) => {
  if (!need(t, ...NEEDS, 'tcpdump')) return
  const demo = start(t, '--json', '--memory', '192M')
  const code = await demo.ended
  if (code !== 0) t.comment(demo.output())
  t.is(code, 0)
  const figures = JSON.parse(demo.stdout().trimEnd().split('\n').at(-1)!) as Figures
  t.is(demo.stdout().trimEnd().split('\n').length, 1, 'stdout has one line')
  t.alike(failures(figures), [])
  t.is(figures.vmm, 'qemu')
  t.ok(['kvm', 'tcg'].includes(figures.accel))
  t.is(figures.memory_bytes, MEMORY_BYTES)
  t.ok(figures.disk_bytes > 0)
  t.is(figures.ram_secret_after, figures.ram_secret_before)
  t.is(figures.disk_sha256_after, figures.disk_sha256_before)
  t.ok(figures.tick_after > figures.tick_before)
  t.ok(figures.uptime_continues)
  t.ok(figures.back_ok)
  t.ok(figures.office_resume_ms <= figures.office_interactive_ms)
  t.ok(figures.office_bytes_before_run > 0, 'a resume needs something from a peer')
  t.ok(figures.office_bytes_before_run < 0.05 * MEMORY_BYTES, 'and little of the memory')
  t.ok(figures.office_bytes_before_run <= figures.office_bytes_at_interactive)
  t.ok(figures.back_bytes_new < 40e6, 'the second suspend stores what changed')
  t.is(figures.plaintext_hits, 0)
  t.ok(figures.capture, figures.capture_problem ?? 'the traffic was captured')
  t.ok(figures.capture_bytes > figures.home_suspend_bytes_stored, 'all of it')
  t.ok(figures.control.guest_memory >= 8, 'the search finds what the guest has')
  await nothingLeft(t, demo)
})

test('demo: Ctrl-C and SIGKILL leave nothing behind', { timeout: DEMO_MS }, async (t) => {
  if (!need(t, ...NEEDS)) return
  const interrupted = start(t, '--memory', '192M')
  await interrupted.saw('it boots and answers') // it is busy in the guest then
  const began = performance.now()
  interrupted.child.kill('SIGINT')
  t.is(await interrupted.ended, 130)
  t.ok(performance.now() - began < GONE_MS, 'at once')
  await nothingLeft(t, interrupted)

  const killed = start(t, '--memory', '192M')
  await killed.saw('it boots and answers')
  killed.child.kill('SIGKILL')
  await killed.ended
  await nothingLeft(t, killed)
})

test('demo: options', async (t) => {
  const wrong = start(t, '--json', '--nonsense')
  t.is(await wrong.ended, 2)
  const { error } = JSON.parse(wrong.stdout()) as { error: { code: string } }
  t.is(error.code, 'USAGE')
  const help = start(t, '--help')
  t.is(await help.ended, 0)
  t.ok(help.stdout().includes('--memory'))
})

interface Demo {
  child: ChildProcess
  /** Below which it works, in its environment. */
  directory: string
  stdout(): string
  output(): string
  /** Resolves when it said that, or ended. */
  saw(text: string): Promise<void>
  ended: Promise<number | null>
}

/** Its directory is next to the kept guest of the other tests, so that there is one to build. */
function start(t: Assert, ...args: string[]): Demo {
  const directory = process.env['HYPERPARCEL_TEST_CACHE'] ?? os.tmpdir()
  const child = spawn(process.execPath, [path.join(ROOT, 'dist/examples/demo.js'), ...args], {
    env: { ...process.env, HYPERPARCEL_DEMO_DIR: directory },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()))
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()))
  t.teardown(() => child.kill('SIGKILL'))
  return {
    child,
    directory,
    stdout: () => stdout,
    output: () => stdout + stderr,
    saw: (text) => until(() => (stdout + stderr).includes(text) || child.exitCode !== null),
    ended: once(child, 'close').then(([code]) => code as number | null)
  }
}

/** No directory, no process and no mount of that demo. */
async function nothingLeft(t: Assert, { child, directory }: Demo): Promise<void> {
  const left = async () => {
    const names = (await readdir(directory)).filter((n) =>
      n.startsWith(`hyperparcel-demo-${child.pid}-`)
    )
    const mounts = (await readFile('/proc/self/mountinfo', 'utf8'))
      .split('\n')
      .filter((line) => line.includes(`hyperparcel-demo-${child.pid}-`))
    return [...names, ...mounts, ...(await processesWith(`hyperparcel-demo-${child.pid}-`))]
  }
  const end = performance.now() + GONE_MS
  while ((await left()).length > 0 && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  t.alike(await left(), [])
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
