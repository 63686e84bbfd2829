/**
 * `npm run soak`: a VM goes back and forth between two devices while it compiles; afterwards nothing may be lost, and
 * neither memory nor processes may have grown. Both devices are on this machine, each with a home and a daemon of its own.
 *
 * Ends with 0 when everything was as it should be, 1 otherwise, 130 when it was interrupted.
 */
import { mkdir, mkdtemp, realpath } from 'node:fs/promises'
import path from 'node:path'
import { cleanUp } from '../../examples/demo/clean-up.ts'
import { Device } from '../../examples/demo/device.ts'
import { Janitor } from '../../examples/demo/janitor.ts'
import { checkMachine } from '../../examples/demo/machine.ts'
import { Timeline } from '../../examples/demo/timeline.ts'
import { guestCache } from '../../examples/guest/cache.ts'
import { HyperparcelError } from '../../lib/base/errors.ts'
import { soakOptions, USAGE, type SoakOptions } from './options.ts'
import { makeReport, renderReport, type Report } from './report.ts'
import { travel } from './soak.ts'

const interrupt = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (!interrupt.signal.aborted) process.stderr.write('\nCleaning up …\n')
    interrupt.abort(new HyperparcelError('INTERRUPTED', 'Interrupted'))
  })
}

// What an interrupted soak still waits for, in the guest for instance, keeps nobody here.
process.exit(await main(process.argv.slice(2)))

async function main(argv: string[]): Promise<number> {
  const json = argv.includes('--json')
  try {
    const options = soakOptions(argv)
    if (options.help) {
      process.stdout.write(`${USAGE}\n`)
      return 0
    }
    return tell(await run(options), options.json)
  } catch (thrown) {
    const err = HyperparcelError.from(thrown)
    process.stderr.write(`\n${err.message}\n${err.hint === undefined ? '' : `${err.hint}\n`}`)
    if (json) process.stdout.write(`${JSON.stringify({ error: err.toJSON() })}\n`)
    return err.exitCode
  }
}

async function run(options: SoakOptions): Promise<Report> {
  const timeline = new Timeline(options.json ? process.stderr : process.stdout)
  await mkdir(options.directory, { recursive: true })
  const base = await realpath(options.directory)
  const directory = await mkdtemp(path.join(base, `hyperparcel-soak-${process.pid}-`))
  const janitor = new Janitor({ directory, keep: options.keep })
  const { signal } = interrupt
  const home = new Device('home', directory, signal)
  const office = new Device('office', directory, signal)
  try {
    await checkMachine(home)
    const journey = travel({
      directory,
      guestDirectory: guestCache(),
      options,
      home,
      office,
      timeline,
      signal
    })
    return makeReport(await Promise.race([journey, interrupted(signal)]), options, timeline.seconds)
  } finally {
    home.close()
    office.close()
    await cleanUp(directory, options.keep)
    janitor.dismiss()
    if (options.keep) timeline.print(`\nKept: ${directory}`)
  }
}

function interrupted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const stop = () => reject(signal.reason as Error)
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop, { once: true })
  })
}

function tell(report: Report, json: boolean): number {
  const out = json ? process.stderr : process.stdout
  out.write(`\n${renderReport(report)}\n\n`)
  if (report.ok) out.write('Nothing was lost, and nothing grew.\n')
  else process.stderr.write(`FAILED: ${report.problems.join('; ')}\n`)
  if (json) process.stdout.write(`${JSON.stringify(report)}\n`)
  return report.ok ? 0 : 1
}
