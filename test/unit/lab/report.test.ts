/** What the lab makes of its measurements. */
import test from 'brittle'
import { labOptions } from '../../lab/options.ts'
import { plot } from '../../lab/plot.ts'
import type { Sample } from '../../lab/measure.ts'
import { makeReport, renderReport, type Measured } from '../../lab/report.ts'

const SAMPLE: Sample = {
  resume_ms: 900,
  interactive_ms: 8000,
  workload_ms: 22_000,
  steps: {},
  bytes_fetched: 20_000_000,
  bytes_interactive: 5_000_000,
  faults_interactive: 100,
  stalled_interactive_ms: 7000,
  faults: 300,
  stalled_ms: 9000,
  answer_bytes: null,
  travel_ms: null,
  bulk: null,
  trace: {}
}
const LOCAL: Sample = { ...SAMPLE, workload_ms: 20_000 }

function report(measured: Measured[]) {
  const machine = {
    cpus: 2,
    cpu: 'one',
    memory_bytes: 1,
    kernel: '6',
    load: [0, 1] as [number, number]
  }
  return makeReport(
    { guest: 'a guest', memory: '256M', machine, local: [LOCAL], left_out: [], seconds: 1 },
    measured
  )
}

test('rows are medians, beside what was published', (t) => {
  const samples = [9000, 8000, 30_000].map((ms) => ({ ...SAMPLE, interactive_ms: ms }))
  const made = report([{ policy: 'demand', mbps: 10, rttMs: 20, samples }])
  const [row] = made.rows
  t.is(row.interactive_ms, 9000)
  t.is(row.slowdown, 0.1)
  t.is(row.published_resume_s, 39)
  t.is(row.published_workload_s, 370)
  const text = renderReport(made)
  for (const part of ['39 s', '370 s', '9.0 s', '10 %', '131 %']) t.ok(text.includes(part), part)
})

test('checks say what is met', (t) => {
  const made = report([
    { policy: 'demand', mbps: 10, rttMs: 20, samples: [SAMPLE] },
    { policy: 'hoarded', mbps: 10, rttMs: 20, samples: [SAMPLE] },
    {
      policy: 'working-set',
      mbps: 10,
      rttMs: 20,
      samples: [{ ...SAMPLE, answer_bytes: 5_000_000 }]
    },
    {
      policy: 'hoarded',
      mbps: 100,
      rttMs: 20,
      samples: [{ ...SAMPLE, bulk: { mbps: 80, tcp_mbps: 100 } }]
    }
  ])
  const ratios = Object.fromEntries(made.checks.map(({ name, ratio }) => [name, ratio]))
  t.is(ratios['demand-10-answer'], 1.875)
  // 100 x 20 ms + 5 MB at 10 Mb/s = 6 s
  t.is(ratios['demand-10-explained'], 0.9)
  // 1.4 x (5 MB at 10 Mb/s + 40 ms) = 5656 ms
  t.is(ratios['working-set-10-limit'], Number((5656 / SAMPLE.interactive_ms).toFixed(3)))
  t.is(ratios['hoarded-10-slowdown'], 0.927)
  t.is(ratios['bulk-100'], 0.8)
  t.ok(renderReport(made).includes('open'))
})

test('the plot has a line for each policy, and that of ISR-2', (t) => {
  const samples = [SAMPLE]
  const { rows } = report([
    { policy: 'demand', mbps: 100, rttMs: 20, samples },
    { policy: 'demand', mbps: 1, rttMs: 20, samples }
  ])
  const svg = plot(rows)
  t.ok(svg.startsWith('<svg ') && svg.endsWith('</svg>\n'))
  t.ok(svg.includes('>demand</text>') && svg.includes('>ISR-2, demand</text>'))
  t.absent(/NaN|Infinity|undefined/.test(svg))
  t.absent(/NaN|Infinity/.test(plot([])), 'nothing measured')
})

test('options of the lab', async (t) => {
  const { rows, small } = labOptions(['--small', '--row', 'demand@0.1'], {})
  t.alike(rows, [{ policy: 'demand', mbps: 0.1 }])
  t.ok(small)
  t.alike(
    labOptions(['--policy', 'hoarded'], {}).rows.map(({ mbps }) => mbps),
    [100, 10, 1]
  )
  for (const wrong of [
    ['--policy', 'none'],
    ['--row', 'demand'],
    ['--mbps', '0'],
    ['--rounds', '1.5']
  ]) {
    await t.exception(() => labOptions(wrong, {}), /policy|--row|--mbps|--rounds/)
  }
})
