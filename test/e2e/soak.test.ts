/** `npm run soak`, small: a guest that works goes back and forth, and comes to no harm. */
import test from 'brittle'
import { need, type RequirementName } from '../helpers/requirements.ts'
import { startStory } from '../helpers/story.ts'
import type { Report } from '../soak/report.ts'

const NEEDS: RequirementName[] = ['qemu', 'fuse', 'bubblewrap', 'apt-get', 'e2fsprogs']
const SMALL = [
  '--guest',
  'small',
  '--memory',
  '192M',
  '--cpus',
  '1',
  '--secret',
  '8',
  '--files',
  '8'
]
const SOAK_MS = 550_000
const GONE_MS = 60_000

test('soak: two rounds of a guest that works', { timeout: SOAK_MS }, async (t) => {
  if (!need(t, ...NEEDS)) return
  const soak = startStory(t, 'soak', ...SMALL, '--rounds', '2', '--seconds', '1', '--json')
  const code = await soak.ended
  if (code !== 0) t.comment(soak.output())
  t.is(code, 0)
  const lines = soak.stdout().trimEnd().split('\n')
  t.is(lines.length, 1, 'stdout has one line')
  const report = JSON.parse(lines[0]) as Report
  t.alike(report.problems, [])
  t.ok(report.ok)
  t.is(report.wrong, 0)
  t.ok(report.builds >= 2, `${report.builds} builds`)
  t.alike(
    report.rounds.map(({ from, to, version }) => [from, to, version]),
    [
      ['home', 'office', 2],
      ['office', 'home', 3]
    ]
  )
  for (const round of report.rounds) {
    t.is(round.processes, 3, 'two daemons and the DHT')
    t.ok(round.runner_rss_bytes > 0 && round.runner_descriptors > 0)
    t.ok(round.daemons['home'].rssBytes > 0 && round.daemons['office'].descriptors > 0)
  }
  t.ok(Object.values(report.verified_blocks).every((blocks) => blocks > 0))
  t.alike(report.growth, [], 'two rounds say nothing about growth')
  await soak.nothingLeft()
})

test('soak: Ctrl-C leaves nothing behind', { timeout: SOAK_MS }, async (t) => {
  if (!need(t, ...NEEDS)) return
  const soak = startStory(t, 'soak', ...SMALL)
  await soak.saw('it boots and answers')
  const began = performance.now()
  soak.child.kill('SIGINT')
  t.is(await soak.ended, 130)
  t.ok(performance.now() - began < GONE_MS, 'at once')
  await soak.nothingLeft()
})
