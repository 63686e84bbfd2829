/**
 * `npm run soak`: a VM goes back and forth between two devices while it compiles; afterwards nothing may be lost, and
 * neither memory nor processes may have grown. Both devices are on this machine, each with a home and a daemon of its own.
 *
 * Ends with 0 when everything was as it should be, 1 otherwise, 130 when it was interrupted.
 */
import { runProgram } from '../../examples/demo/program.ts'
import { guestCache } from '../../examples/guest/cache.ts'
import { soakOptions, USAGE } from './options.ts'
import { makeReport, renderReport, type Report } from './report.ts'
import { travel } from './soak.ts'

await runProgram({
  name: 'soak',
  usage: USAGE,
  options: soakOptions,
  play: async (stage, options) => {
    const journey = await travel({ ...stage, guestDirectory: guestCache(), options })
    return makeReport(journey, options, stage.timeline.seconds)
  },
  report: tell
})

function tell(report: Report, json: boolean): number {
  const out = json ? process.stderr : process.stdout
  out.write(`\n${renderReport(report)}\n\n`)
  if (report.ok) out.write('Nothing was lost, and nothing grew.\n')
  else process.stderr.write(`FAILED: ${report.problems.join('; ')}\n`)
  if (json) process.stdout.write(`${JSON.stringify(report)}\n`)
  return report.ok ? 0 : 1
}
