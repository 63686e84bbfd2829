/** `npm run demo` as a user runs it: its figures, and that it leaves nothing behind, however it ends. */
import test from 'brittle'
import { failures, type Figures } from '../../examples/demo/figures.ts'
import { need, type RequirementName } from '../helpers/requirements.ts'
import { startStory } from '../helpers/story.ts'

const NEEDS: RequirementName[] = ['root', 'qemu', 'fuse', 'bubblewrap', 'apt-get', 'e2fsprogs']
const MEMORY_BYTES = 192 * 1024 * 1024
const DEMO_MS = 300_000
const GONE_MS = 60_000

test('demo: a VM goes to the office and back', { timeout: DEMO_MS }, async (t) => {
  if (!need(t, ...NEEDS, 'tcpdump')) return
  const demo = startStory(t, 'demo', '--json', '--memory', '192M')
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
  await demo.nothingLeft()
})

test('demo: Ctrl-C and SIGKILL leave nothing behind', { timeout: DEMO_MS }, async (t) => {
  if (!need(t, ...NEEDS)) return
  const interrupted = startStory(t, 'demo', '--memory', '192M')
  await interrupted.saw('it boots and answers') // it is busy in the guest then
  const began = performance.now()
  interrupted.child.kill('SIGINT')
  t.is(await interrupted.ended, 130)
  t.ok(performance.now() - began < GONE_MS, 'at once')
  await interrupted.nothingLeft()

  const killed = startStory(t, 'demo', '--memory', '192M')
  await killed.saw('it boots and answers')
  killed.child.kill('SIGKILL')
  await killed.ended
  await killed.nothingLeft()
})

test('demo: options', async (t) => {
  const wrong = startStory(t, 'demo', '--json', '--nonsense')
  t.is(await wrong.ended, 2)
  const { error } = JSON.parse(wrong.stdout()) as { error: { code: string } }
  t.is(error.code, 'USAGE')
  const help = startStory(t, 'demo', '--help')
  t.is(await help.ended, 0)
  t.ok(help.stdout().includes('--memory'))
})
