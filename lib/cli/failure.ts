/** From anything thrown to the error that the user sees, and how it is printed. */
import { CommanderError } from 'commander'
import { HyperparcelError } from '../base/errors.ts'

/** Help and version end the parsing with a `CommanderError` too: those are no failures, null. */
export function toError(err: unknown): HyperparcelError | null {
  if (!(err instanceof CommanderError)) return HyperparcelError.from(err)
  if (err.code === 'commander.helpDisplayed' || err.code === 'commander.version') return null
  if (err.code === 'commander.help') {
    return err.exitCode === 0 ? null : usage('No command was given', 'See `hyperparcel --help`.')
  }
  const message = err.message.replace(/^error: /, '')
  const value = /^(.* is invalid)\. (.*)$/s.exec(message)
  if (value !== null) return usage(value[1], value[2])
  const [what, suggestion] = message.split('\n')
  return usage(what, suggestion === undefined ? undefined : suggestion.replace(/^\(|\)$/g, ''))
}

export function usage(message: string, hint = 'See `hyperparcel help COMMAND`.'): HyperparcelError {
  return new HyperparcelError('USAGE', capital(message), { hint })
}

export function errorText(err: HyperparcelError): string {
  const hint = err.hint === undefined ? '' : `\n${err.hint}`
  return `hyperparcel: ${err.message}${hint}\n`
}

export function errorJson(err: HyperparcelError): string {
  return `${JSON.stringify({ error: err.toJSON() })}\n`
}

function capital(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`
}
