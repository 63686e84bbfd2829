/** `npm run lab`, small: one link, two policies. */
import { readFile, readdir, mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import test from 'brittle'
import { need, type RequirementName } from '../helpers/requirements.ts'
import { startStory } from '../helpers/story.ts'
import type { LabReport } from '../lab/report.ts'

const NEEDS: RequirementName[] = [
  ...(['root', 'iproute', 'vde', 'qemu', 'fuse', 'bubblewrap'] as const),
  ...(['apt-get', 'e2fsprogs'] as const)
]
const LAB_MS = 500_000

test('lab: demand and proactive over a slow link', { timeout: LAB_MS }, async (t) => {
  if (!need(t, ...NEEDS)) return
  const out = await mkdtemp(path.join(os.tmpdir(), 'hplab-'))
  t.teardown(() => rm(out, { recursive: true, force: true }))
  const rows = ['--row', 'demand@20', '--row', 'proactive@20']
  const lab = startStory(t, 'lab', '--small', ...rows, '--out', out, '--json')
  const code = await lab.ended
  if (code !== 0) t.comment(lab.output())
  t.is(code, 0)
  const lines = lab.stdout().trimEnd().split('\n')
  t.is(lines.length, 1, 'stdout has one line')
  const report = JSON.parse(lines[0]) as LabReport
  t.is(report.local.length, 1)
  t.alike(report.left_out, [])
  t.alike(
    report.rows.map(({ policy, mbps, rtt_ms }) => [policy, mbps, rtt_ms]),
    [
      ['demand', 20, 20],
      ['proactive', 20, 20]
    ]
  )
  const [demand, proactive] = report.rows
  for (const row of report.rows) {
    t.ok(row.resume_ms > 0 && row.interactive_ms > row.resume_ms, `${row.policy} answers`)
    t.ok(row.workload_ms! > 0 && row.slowdown !== null, `${row.policy} works`)
  }
  t.ok(demand.faults > 0 && demand.stalled_ms > 0 && demand.bytes_fetched > 1e6, 'over the link')
  t.ok(demand.bytes_interactive <= demand.bytes_fetched)
  t.is(demand.travel_ms, null)
  t.is(proactive.faults, 0, 'all was there before')
  t.ok(proactive.travel_ms! > 0)
  const [json, svg] = ['lab.json', 'lab.svg'].map((name) => path.join(out, name))
  t.alike(JSON.parse(await readFile(json, 'utf8')), report)
  t.ok((await readFile(svg, 'utf8')).includes('>proactive</text>'))
  await lab.nothingLeft()
  t.alike(await namespacesOf(lab.child.pid!), [])
})

test('lab: Ctrl-C leaves nothing behind', { timeout: LAB_MS }, async (t) => {
  if (!need(t, ...NEEDS)) return
  const lab = startStory(t, 'lab', '--small')
  await lab.saw('a private DHT and a fleet are there')
  t.ok((await namespacesOf(lab.child.pid!)).length > 0, 'namespaces are there')
  lab.child.kill('SIGINT')
  t.is(await lab.ended, 130)
  await lab.nothingLeft()
  t.alike(await namespacesOf(lab.child.pid!), [])
})

async function namespacesOf(pid: number): Promise<string[]> {
  const names = await readdir('/run/netns').catch(() => [])
  return names.filter((name) => /^hp\d+/.exec(name)?.[0] === `hp${pid}`)
}
