/**
 * One run of the command line, from the arguments to the exit code. Here alone results and errors are printed:
 * with `--json` exactly one object, the last line of stdout, also on failure.
 */
import { readFileSync } from 'node:fs'
import { EXIT, HyperparcelError } from '../base/errors.ts'
import type { CliCommand } from './command.ts'
import { COMMANDS, LATER } from './commands/index.ts'
import { Context, processIo, type Io } from './context.ts'
import { errorJson, errorText, toError } from './failure.ts'
import { homeOption, typedError } from './typed.ts'
import { watchInterrupts, type Interrupts } from './interrupt.ts'
import { buildProgram } from './program.ts'

/** Returns the exit code; never rejects. `interrupts` is for tests. */
export async function main(
  argv: string[],
  io: Io = processIo,
  interrupts: Interrupts = watchInterrupts(() => {})
): Promise<number> {
  const json = wantsJson(argv)
  let help = ''
  let context: Context | null = null
  let exitCode: number = EXIT.DONE
  const program = buildProgram({
    commands: COMMANDS,
    version: programVersion(),
    write: (text) => (help += text),
    async invoke(command, args, options, globals) {
      context = new Context(io, globals, interrupts.signal)
      const outcome = await command.run!(context, args, options)
      context.renderer.clear()
      const text = context.json ? outcome.json && JSON.stringify(outcome.json) : outcome.text
      if (text) io.stdout.write(`${text}\n`)
      exitCode = outcome.exitCode ?? EXIT.DONE
    }
  })
  try {
    refuseLater(argv)
    await program.parseAsync(argv, { from: 'user' })
    return exitCode
  } catch (thrown) {
    ;(context as Context | null)?.renderer.clear()
    const failure = toError(thrown, commandPath(argv))
    if (failure === null) {
      io.stdout.write(json ? `${JSON.stringify({ help: help.trim() })}\n` : help)
      return EXIT.DONE
    }
    const err = typedError(failure, homeOption(argv))
    if (json) io.stdout.write(errorJson(err))
    else io.stderr.write(errorText(err))
    return err.exitCode
  } finally {
    ;(context as Context | null)?.close()
    interrupts.close()
  }
}

/** Also where the arguments cannot be parsed. */
function wantsJson(argv: string[]): boolean {
  const end = argv.indexOf('--')
  return (end === -1 ? argv : argv.slice(0, end)).includes('--json')
}

/** Commands of the contract that this build does not have say so, instead of looking like a typing error. */
function refuseLater(argv: string[]): void {
  const words = commandWords(argv)
  const name = LATER.find((later) => later.split(' ').every((word, i) => words[i] === word))
  if (name === undefined) return
  throw new HyperparcelError('NOT_IMPLEMENTED', `The command ${name} is not implemented yet`, {
    hint: 'See `hyperparcel --help` for the commands of this version.'
  })
}

/** `resume`, `daemon run`; null where no command was typed that there is. */
function commandPath(argv: string[]): string | null {
  const [first, second] = commandWords(argv)
  const command = COMMANDS.find((known) => nameOf(known) === first)
  if (command === undefined) return null
  const sub = command.subcommands?.find((known) => nameOf(known) === second)
  return sub === undefined ? first : `${first} ${second}`
}

function nameOf({ usage }: CliCommand): string {
  return usage.split(' ')[0]
}

function commandWords(argv: string[]): string[] {
  const words: string[] = []
  for (let i = 0; i < argv.length && argv[i] !== '--'; i++) {
    if (argv[i] === '--home') i++
    else if (!argv[i].startsWith('-')) words.push(argv[i])
  }
  return words
}

export function programVersion(): string {
  for (const file of ['../../package.json', '../../../package.json']) {
    try {
      const text = readFileSync(new URL(file, import.meta.url), 'utf8')
      return (JSON.parse(text) as { version: string }).version
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code !== 'ENOENT') throw err
    }
  }
  return 'unknown'
}
