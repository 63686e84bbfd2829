/**
 * `npm run demo`: a VM is suspended on one device and resumed on another one, and back, through the command line
 * as a user has it. Both devices are on this machine, each with a home and a daemon of its own.
 *
 * Ends with 0 when everything was as it should be, 1 otherwise, 130 when it was interrupted.
 */
import { mkdir, mkdtemp, realpath } from 'node:fs/promises'
import path from 'node:path'
import { HyperparcelError } from '../lib/base/errors.ts'
import { cleanUp } from './demo/clean-up.ts'
import { Device } from './demo/device.ts'
import { failures, summary, type Figures } from './demo/figures.ts'
import { Janitor } from './demo/janitor.ts'
import { checkMachine } from './demo/machine.ts'
import { demoOptions, USAGE, type DemoOptions } from './demo/options.ts'
import { tell } from './demo/story.ts'
import { Timeline } from './demo/timeline.ts'
import { guestCache } from './guest/cache.ts'

const interrupt = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (!interrupt.signal.aborted) process.stderr.write('\nCleaning up …\n')
    interrupt.abort(new HyperparcelError('INTERRUPTED', 'Interrupted'))
  })
}

// What an interrupted demo still waits for, in the guest for instance, keeps nobody here.
process.exit(await main(process.argv.slice(2)))

async function main(argv: string[]): Promise<number> {
  let json = argv.includes('--json')
  try {
    const options = demoOptions(argv)
    if (options.help) {
      process.stdout.write(`${USAGE}\n`)
      return 0
    }
    json = options.json
    return report(await run(options), json)
  } catch (thrown) {
    const err = HyperparcelError.from(thrown)
    process.stderr.write(`\n${err.message}\n${err.hint === undefined ? '' : `${err.hint}\n`}`)
    if (json) process.stdout.write(`${JSON.stringify({ error: err.toJSON() })}\n`)
    return err.exitCode
  }
}

async function run(options: DemoOptions): Promise<Figures> {
  const timeline = new Timeline(options.json ? process.stderr : process.stdout)
  timeline.print('One VM, two devices, a private DHT, no server.')
  await mkdir(options.directory, { recursive: true })
  const base = await realpath(options.directory)
  const directory = await mkdtemp(path.join(base, `hyperparcel-demo-${process.pid}-`))
  const janitor = new Janitor({ directory, keep: options.keep })
  const { signal } = interrupt
  const home = new Device('home', directory, signal)
  const office = new Device('office', directory, signal)
  try {
    await checkMachine(home)
    const story = tell({
      directory,
      guestDirectory: guestCache(),
      memory: options.memory,
      home,
      office,
      timeline,
      signal
    })
    return await Promise.race([story, interrupted(signal)])
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
