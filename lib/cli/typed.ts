/**
 * Commands in texts for the user, as they have to be typed: with the `--home` that this one was given.
 *
 * In hints a command stands in backticks: `hyperparcel resume work`. One for another device follows the word
 * "there" (there: `hyperparcel suspend work`) and stays as it is: its home is not ours.
 */
import { HyperparcelError } from '../base/errors.ts'

const QUOTED = /(\bthere(?::| with)? )?(["`])hyperparcel ([^"`]+)\2/g

/** `hyperparcel` as this user has to type it. */
export function programText(home: string | undefined): string {
  return home === undefined ? 'hyperparcel' : `hyperparcel --home ${shellWord(home)}`
}

export function typedHint(hint: string, home: string | undefined): string {
  return hint.replace(QUOTED, (_match, there: string | undefined, _quote, command: string) =>
    there === undefined && !/^(--)?help\b/.test(command)
      ? `\`${programText(home)} ${command}\``
      : `${there ?? ''}\`hyperparcel ${command}\``
  )
}

/** The same error with the hint as it has to be typed. */
export function typedError(err: HyperparcelError, home: string | undefined): HyperparcelError {
  if (err.hint === undefined) return err
  return new HyperparcelError(err.code, err.message, {
    hint: typedHint(err.hint, home),
    cause: err.cause,
    context: err.context
  })
}

/** The last `--home`: the one nearest to the command's end wins, as in `program.ts`. */
export function homeOption(argv: string[]): string | undefined {
  let home: string | undefined
  for (let i = 0; i < argv.length && argv[i] !== '--'; i++) {
    if (argv[i] === '--home') home = argv[++i]
    else if (argv[i].startsWith('--home=')) home = argv[i].slice('--home='.length)
  }
  return home
}

function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
