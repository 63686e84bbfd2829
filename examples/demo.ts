/**
 * `npm run demo`: a VM is suspended on one device and resumed on another one, and back, through the command line
 * as a user has it. Both devices are on this machine, each with a home and a daemon of its own.
 *
 * Ends with 0 when everything was as it should be, 1 otherwise, 130 when it was interrupted.
 */
import { failures, summary, type Figures } from './demo/figures.ts'
import { demoOptions, USAGE } from './demo/options.ts'
import { runProgram } from './demo/program.ts'
import { tell } from './demo/story.ts'
import { guestCache } from './guest/cache.ts'

await runProgram({
  name: 'demo',
  usage: USAGE,
  options: demoOptions,
  opening: 'One VM, two devices, a private DHT, no server.',
  play: (stage, { memory }) => tell({ ...stage, guestDirectory: guestCache(), memory }),
  report
})

function report(figures: Figures, json: boolean): number {
  const problems = failures(figures)
  const out = json ? process.stderr : process.stdout
  out.write(`\n${summary(figures)}\n\n`)
  if (problems.length === 0) out.write(`${verdict(figures)}\n`)
  else process.stderr.write(`FAILED: ${problems.join('; ')}.\n`)
  const ok = problems.length === 0
  if (json) process.stdout.write(`${JSON.stringify({ ok, problems, ...figures })}\n`)
  return ok ? 0 : 1
}

/** Without the traffic it is less than everything. */
function verdict({ capture, capture_problem }: Figures): string {
  if (capture) return 'Everything was as it should be.'
  return `Everything that was checked was as it should be. Not searched: the traffic (${capture_problem ?? 'it was not captured'}).`
}
