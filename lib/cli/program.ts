/**
 * Wires the commands up with commander. Global options are accepted before and after the command; since
 * `--version` is an option of its own in some commands, each command has them declared again.
 */
import { Command, Option } from 'commander'
import type { CliCommand } from './command.ts'
import type { GlobalOptions } from './context.ts'
import type { HyperparcelError } from '../base/errors.ts'
import { EXIT_HELP } from './exit-help.ts'
import { usage } from './failure.ts'

/** Called with what was typed; throws `CommanderError` or `HyperparcelError` otherwise. */
export type Invoke = (
  command: CliCommand,
  args: string[],
  options: Record<string, unknown>,
  globals: GlobalOptions
) => Promise<void>

export interface ProgramOptions {
  commands: CliCommand[]
  version: string
  invoke: Invoke
  /** Help and version. */
  write(text: string): void
}

const GLOBAL_NAMES = ['home', 'json', 'quiet'] as const

export function buildProgram(opts: ProgramOptions): Command {
  const program = new Command('hyperparcel')
  // Before any subcommand: they inherit what is set here.
  program
    .exitOverride()
    .configureOutput({ writeOut: (text) => opts.write(text), outputError() {}, writeErr() {} })
    .enablePositionalOptions()
    .configureHelp({ subcommandTerm: (command) => `${command.name()} ${argumentsOf(command)}` })
    .showSuggestionAfterError(true)
    .description('Suspend a whole PC on one machine and resume it on another, with no server.')
    .usage('[--home DIR] [--json] [--quiet] COMMAND …')
    .version(opts.version, '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .addHelpText('after', `\n${EXIT_HELP}`)
  for (const option of globalOptions()) program.addOption(option)
  for (const command of opts.commands) addCommand(program, command, opts.invoke)
  addHelp(program)
  return program
}

/** Commander's own `help` takes one word and does not know unknown ones. */
function addHelp(program: Command): void {
  const help = program.command('help [command...]')
  for (const option of globalOptions()) help.addOption(option.hideHelp())
  help
    .summary('print the help of a command')
    .description('Print the help of a command.')
    .helpOption('-h, --help', 'print this help')
    .action((words: string[]) => {
      let found = program
      for (const word of words) {
        const next = found.commands.find((command) => command.name() === word)
        if (next === undefined) throw unknownCommand(words.join(' '))
        found = next
      }
      found.help()
    })
}

function unknownCommand(typed: string): HyperparcelError {
  return usage(`Unknown command ${typed}`)
}

function addCommand(parent: Command, spec: CliCommand, invoke: Invoke): void {
  const command = parent.command(spec.usage)
  command
    .summary(spec.summary)
    .description(sentence(spec.details ?? spec.summary))
    .helpOption('-h, --help', 'print this help')
    .addHelpText('after', afterHelp(spec.example))
  spec.options?.(command)
  for (const option of globalOptions()) command.addOption(option.hideHelp())
  for (const sub of spec.subcommands ?? []) addCommand(command, sub, invoke)
  if (spec.subcommands !== undefined) command.helpCommand(false)
  const run = spec.run
  if (run === undefined) return
  // Else commander would count the unknown subcommand as an argument too many.
  if (spec.subcommands !== undefined) command.allowExcessArguments(true)
  command.action(async () => {
    if (spec.subcommands !== undefined && command.args.length > 0) {
      throw unknownCommand(`${command.name()} ${command.args[0]}`)
    }
    const options = command.opts<Record<string, unknown>>()
    await invoke(spec, command.processedArgs.flat() as string[], options, globalsOf(command))
  })
}

/** The nearest to the command wins. */
function globalsOf(command: Command): GlobalOptions {
  const globals: Record<string, unknown> = {}
  for (let c: Command | null = command; c !== null; c = c.parent) {
    for (const name of GLOBAL_NAMES) globals[name] ??= c.opts<GlobalOptions>()[name]
  }
  return globals
}

function globalOptions(): Option[] {
  return [
    new Option('--home <dir>', 'the home of this device'),
    new Option('--json', 'print one JSON object as the last line of stdout'),
    new Option('--quiet', 'show no progress')
  ]
}

function argumentsOf(command: Command): string {
  return command.registeredArguments
    .map((argument) => (argument.required ? `<${argument.name()}>` : `[${argument.name()}]`))
    .join(' ')
}

function afterHelp(example: string): string {
  const lines = example.replaceAll('\n', '\n  ')
  return `\nExample:\n  ${lines}\n\n--home, --json and --quiet work here too: see hyperparcel --help.`
}

function sentence(text: string): string {
  return /[.:]$/.test(text) ? text : `${text[0].toUpperCase()}${text.slice(1)}.`
}
