import test from 'brittle'
import type { Clock } from '../../../lib/base/clock.ts'
import {
  formatAge,
  formatBytes,
  formatDuration,
  formatFields,
  formatTable,
  printable
} from '../../../lib/cli/ui/format.ts'
import { JsonLinesRenderer } from '../../../lib/cli/ui/json-lines.ts'
import { ProgressMeter } from '../../../lib/cli/ui/meter.ts'
import { PhaseRenderer } from '../../../lib/cli/ui/phases.ts'
import { TerminalRenderer } from '../../../lib/cli/ui/terminal.ts'

const MIB = 1024 ** 2

class TestClock implements Clock {
  ms = 0
  now(): number {
    return this.ms
  }
  monotonic(): number {
    return this.ms
  }
  sleep(): Promise<void> {
    return Promise.resolve()
  }
}

class TestOutput {
  text = ''
  columns = 100
  write(data: string | Uint8Array): void {
    this.text += String(data)
  }
  /** What each write left on the line. */
  frames(): string[] {
    return this.text.split('\r\u001b[K').slice(1)
  }
}

test('without a terminal a phase that takes long is told once', (t) => {
  const clock = new TestClock()
  const output = new TestOutput()
  const renderer = new PhaseRenderer(output, clock)
  const during = (phase: string, seconds: number) => {
    for (let i = 0; i <= seconds * 2; i++, clock.ms += 500) renderer.progress({ phase })
  }
  during('looking for home', 1)
  t.is(output.text, '', 'not a short one')
  during('waiting for data: home is not online', 20)
  during('fetching', 2)
  t.is(output.text, 'waiting for data: home is not online …\n')
})

test('bytes, durations and ages', (t) => {
  t.is(formatBytes(0), '0 B')
  t.is(formatBytes(1023), '1023 B')
  t.is(formatBytes(1536), '1.5 KiB')
  t.is(formatBytes(1024 ** 2 - 1), '1.0 MiB')
  t.is(formatBytes(512 * MIB), '512 MiB')
  t.is(formatBytes(20 * 1024 ** 3), '20.0 GiB')
  t.is(formatDuration(850), '0.85 s')
  t.is(formatDuration(4_200), '4.2 s')
  t.is(formatDuration(59_700), '1 min')
  t.is(formatDuration(75_000), '1 min 15 s')
  t.is(formatDuration(3_600_000), '1 h')
  t.is(formatDuration(72 * 3_600_000), '3 days')
  const now = Date.parse('2026-05-10T12:00:00Z')
  t.is(formatAge('2026-05-10T11:59:57Z', now), 'just now')
  t.is(formatAge('2026-05-10T11:55:00Z', now), '5 min ago')
  t.is(formatAge('2026-05-09T11:55:00Z', now), '1 day ago')
  t.is(formatAge(null, now), '-')
  t.is(formatAge('nonsense', now), '-')
})

test('tables line up, numbers to the right, and names cannot steer the terminal', (t) => {
  const table = formatTable(
    ['NAME', 'N'],
    [
      ['work', 7],
      ['a\u001b[2Jb', 123]
    ]
  )
  t.is(table, ['NAME      N', 'work      7', 'a\ufffd[2Jb  123'].join('\n'))
  t.is(printable('x\u202ey\u0007'), 'x\ufffdy\ufffd')
  t.is(
    formatFields([
      ['a', 1],
      ['longer', 'x'],
      ['none', null]
    ]),
    'a:      1\nlonger: x'
  )
})

test('the meter knows rate and time left', (t) => {
  const clock = new TestClock()
  const meter = new ProgressMeter(clock)
  t.is(meter.update({ phase: 'fetching', done: 0, total: 10 * MIB, unit: 'bytes' }).rate, null)
  clock.ms = 1000
  const view = meter.update({ phase: 'fetching', done: 2 * MIB, total: 10 * MIB, unit: 'bytes' })
  t.is(view.rate, 2 * MIB)
  t.is(view.etaMs, 4000)
  clock.ms = 2000
  const next = meter.update({ phase: 'storing', done: 9 * MIB, unit: 'bytes' })
  t.is(next.rate, null, 'a new phase starts anew')
  t.is(next.elapsedMs, 0)
})

test('the meter forgets what is long ago', (t) => {
  const clock = new TestClock()
  const meter = new ProgressMeter(clock)
  meter.update({ phase: 'p', done: 0 })
  clock.ms = 1000
  meter.update({ phase: 'p', done: 100 * MIB })
  for (clock.ms = 2000; clock.ms <= 20_000; clock.ms += 1000) {
    meter.update({ phase: 'p', done: 100 * MIB })
  }
  t.is(meter.update({ phase: 'p', done: 100 * MIB }).rate, 0)
})

test('the terminal shows one line, drawn over itself', (t) => {
  const clock = new TestClock()
  const output = new TestOutput()
  const renderer = new TerminalRenderer(output, clock)
  renderer.progress({ phase: 'fetching memory', done: 0, total: 40 * MIB, unit: 'bytes' })
  clock.ms = 50
  renderer.progress({ phase: 'fetching memory', done: MIB, total: 40 * MIB, unit: 'bytes' })
  clock.ms = 1000
  renderer.progress({
    phase: 'fetching memory',
    done: 10 * MIB,
    total: 40 * MIB,
    unit: 'bytes',
    peers: ['office']
  })
  renderer.clear()
  t.alike(output.frames(), [
    'fetching memory  0 B of 40.0 MiB  0%',
    'fetching memory  10.0 MiB of 40.0 MiB  25%  10.0 MiB/s  3.0 s left  (office)',
    ''
  ])
  renderer.clear()
  t.is(output.frames().length, 3, 'nothing to take away twice')
})

test('the line never wraps', (t) => {
  const output = new TestOutput()
  output.columns = 20
  new TerminalRenderer(output, new TestClock()).progress({ phase: 'waiting for data from afar' })
  t.is(output.frames()[0].length, 19)
})

test('JSON lines: phases at once, in between two a second', (t) => {
  const clock = new TestClock()
  const output = new TestOutput()
  const renderer = new JsonLinesRenderer(output, clock)
  for (; clock.ms <= 2000; clock.ms += 10) {
    renderer.progress({ phase: 'storing', done: clock.ms, total: 4000, unit: 'bytes' })
  }
  renderer.progress({ phase: 'waiting for data', peers: ['office'] })
  const lines = output.text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  t.is(lines.length, 6)
  t.alike(lines[1], {
    phase: 'storing',
    done: 500,
    total: 4000,
    unit: 'bytes',
    elapsed_ms: 500,
    per_second: 1000,
    eta_ms: 3500
  })
  t.alike(lines[5], { phase: 'waiting for data', peers: ['office'], elapsed_ms: 0 })
})
