/** From anything thrown to the error that the user sees, and how it is printed. */
import { CommanderError } from 'commander'
import { HyperparcelError } from '../base/errors.ts'

/**
 * Help and version end the parsing with a `CommanderError` too: those are no failures, null. `command` is the one
 * that was typed, for the hint where to read on.
 */
export function toError(err: unknown, command: string | null): HyperparcelError | null {
  const found = parsed(err)
  if (found === null || found.code !== 'USAGE' || found.hint !== undefined) return found
  const help = command === null ? '--help' : `help ${command}`
  return new HyperparcelError('USAGE', found.message, {
    hint: `See \`hyperparcel ${help}\`.`,
    cause: found.cause,
    context: found.context
  })
}

function parsed(err: unknown): HyperparcelError | null {
  if (!(err instanceof CommanderError)) return HyperparcelError.from(err)
  if (err.code === 'commander.helpDisplayed' || err.code === 'commander.version') return null
  if (err.code === 'commander.help') {
    return err.exitCode === 0 ? null : usage('No command was given')
  }
  const message = err.message.replace(/^error: /, '')
  const value = /^(.* is invalid)\. (.*)$/s.exec(message)
  if (value !== null) return usage(value[1], value[2])
  const [what, suggestion] = message.split('\n')
  return usage(what, suggestion === undefined ? undefined : suggestion.replace(/^\(|\)$/g, ''))
}

/** Without a hint it gets one that names the help of the command. */
export function usage(message: string, hint?: string): HyperparcelError {
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
