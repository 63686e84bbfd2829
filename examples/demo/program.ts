/**
 * The frame of the demo and the soak: signals, errors and exit codes, and two devices in a directory of their own that is
 * removed in the end. Ends with 130 when it was interrupted.
 */
import { mkdir, mkdtemp, realpath } from 'node:fs/promises'
import path from 'node:path'
import { HyperparcelError } from '../../lib/base/errors.ts'
import { cleanUp } from './clean-up.ts'
import { Device } from './device.ts'
import { Janitor } from './janitor.ts'
import { checkMachine } from './machine.ts'
import { Timeline } from './timeline.ts'

export interface ProgramOptions {
  help: boolean
  json: boolean
  /** Leave the directory there. */
  keep: boolean
  /** Where the directory is made. */
  directory: string
}

export interface Stage {
  directory: string
  home: Device
  office: Device
  timeline: Timeline
  signal: AbortSignal
}

export interface Program<Options extends ProgramOptions, Result> {
  name: string
  usage: string
  /** Throws `USAGE`. */
  options(argv: string[]): Options
  opening?: string
  play(stage: Stage, options: Options): Promise<Result>
  /** Returns the exit code. */
  report(result: Result, json: boolean): number
}

/** Ends the process. What an interrupted program still waits for, in the guest for instance, keeps nobody here. */
export async function runProgram<Options extends ProgramOptions, Result>(
  program: Program<Options, Result>
): Promise<never> {
  const interrupt = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (!interrupt.signal.aborted) process.stderr.write('\nCleaning up …\n')
      interrupt.abort(new HyperparcelError('INTERRUPTED', 'Interrupted'))
    })
  }
  process.exit(await main(program, process.argv.slice(2), interrupt.signal))
}

async function main<Options extends ProgramOptions, Result>(
  program: Program<Options, Result>,
  argv: string[],
  signal: AbortSignal
): Promise<number> {
  let json = argv.includes('--json')
  try {
    const options = program.options(argv)
    if (options.help) {
      process.stdout.write(`${program.usage}\n`)
      return 0
    }
    json = options.json
    return program.report(await onStage(program, options, signal), json)
  } catch (thrown) {
    const err = HyperparcelError.from(thrown)
    process.stderr.write(`\n${err.message}\n${err.hint === undefined ? '' : `${err.hint}\n`}`)
    if (json) process.stdout.write(`${JSON.stringify({ error: err.toJSON() })}\n`)
    return err.exitCode
  }
}

async function onStage<Options extends ProgramOptions, Result>(
  { name, opening, play }: Program<Options, Result>,
  options: Options,
  signal: AbortSignal
): Promise<Result> {
  const timeline = new Timeline(options.json ? process.stderr : process.stdout)
  if (opening !== undefined) timeline.print(opening)
  await mkdir(options.directory, { recursive: true })
  const base = await realpath(options.directory)
  const directory = await mkdtemp(path.join(base, `hyperparcel-${name}-${process.pid}-`))
  const janitor = new Janitor({ directory, keep: options.keep })
  const home = new Device('home', directory, signal)
  const office = new Device('office', directory, signal)
  try {
    await checkMachine(home)
    const playing = play({ directory, home, office, timeline, signal }, options)
    return await Promise.race([playing, interrupted(signal)])
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
