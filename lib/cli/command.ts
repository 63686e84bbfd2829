/** What a command is: one file in `commands/` each, listed in `commands/index.ts`, wired up by `program.ts`. */
import type { Command } from 'commander'
import type { Context } from './context.ts'

/** What a command ends with: the JSON of the contract, and the same for people. */
export interface Outcome {
  /** Null where everything was printed before. */
  json: object | null
  text: string
  /** It did what it should, and what it found calls for another exit code than 0. */
  exitCode?: number
}

export interface CliCommand {
  /** Name and arguments as commander writes them: `suspend <name>`. */
  usage: string
  /** One line, lower case, for the list of commands. */
  summary: string
  /** More, for the help of this one. */
  details?: string
  /** A command line that works, for its help. */
  example: string
  options?(command: Command): void
  /** Absent for a command that only has subcommands. */
  // oxlint-disable-next-line typescript/no-explicit-any -- each command knows the shape of its own options
  run?(context: Context, args: string[], options: any): Promise<Outcome>
  subcommands?: CliCommand[]
}
