/**
 * Logs of the long-running processes, to stderr: JSON lines, or plain lines on a terminal.
 * Never keys, phrases, invites or plaintext: log names, numbers and codes.
 * `HYPERPARCEL_LOG` chooses the level: debug, info (the default), warn, error, silent.
 */
import { fstatSync, writeSync } from 'node:fs'
import { pino, type DestinationStream } from 'pino'
import { HyperparcelError } from './errors.ts'

/** The little of pino that is used: context first, then a sentence. An error goes into `context.err`. */
export interface Logger {
  debug(context: Record<string, unknown>, message: string): void
  info(context: Record<string, unknown>, message: string): void
  warn(context: Record<string, unknown>, message: string): void
  error(context: Record<string, unknown>, message: string): void
  child(bindings: Record<string, unknown>): Logger
}

export interface LoggerOptions {
  /** Which process: `daemon`, `runner`. */
  name: string
  level?: string
  /** JSON lines by default, plain lines where stderr is a terminal. */
  format?: 'json' | 'text'
  write?: (line: string) => void
}

const STDERR = 2
const LEVELS = ['debug', 'info', 'warn', 'error', 'silent']
const LEVEL_NAMES: Record<number, string> = { 20: 'debug', 30: 'info', 40: 'warn', 50: 'error' }

export function createLogger(opts: LoggerOptions): Logger {
  const asked = opts.level ?? process.env['HYPERPARCEL_LOG'] ?? 'info'
  const text = (opts.format ?? (process.stderr.isTTY ? 'text' : 'json')) === 'text'
  const write = opts.write ?? writerOf(STDERR)
  const destination: DestinationStream = {
    write: (line) => write(text ? plain(line) : line)
  }
  return pino(
    {
      name: opts.name,
      level: LEVELS.includes(asked) ? asked : 'info',
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: { err: describe }
    },
    destination
  )
}

/** Says nothing, for tests. */
export const noLogger: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => noLogger
}

/** A log that cannot be written, because its disk is full, is lost: nothing ends for that. */
function writerOf(fd: number): (line: string) => void {
  const found = fstatSync(fd)
  if (found.isFIFO() || found.isSocket() || process.stderr.isTTY) {
    return (line) => void process.stderr.write(line)
  }
  return (line) => {
    try {
      writeSync(fd, line)
    } catch {
      // there is nowhere to say so
    }
  }
}

/** An error with its causes; a stack only for bugs, which have no code of ours. */
function describe(err: unknown): unknown {
  if (!(err instanceof Error)) return err
  const shape: Record<string, unknown> =
    err instanceof HyperparcelError
      ? { ...err.toJSON() }
      : { message: err.message, stack: err.stack }
  if (err.cause !== undefined) shape['cause'] = describe(err.cause)
  return shape
}

function plain(line: string): string {
  const { time, level, name, msg, err, pid, ...rest } = JSON.parse(line) as Record<string, unknown>
  void pid
  const details = Object.entries(rest).map(([key, value]) => ` ${key}=${JSON.stringify(value)}`)
  const error = err as { code?: string; message?: string } | undefined
  const why = error === undefined ? '' : `: ${error.message} (${error.code ?? 'bug'})`
  const clock = String(time).slice(11, 23)
  return `${clock} ${LEVEL_NAMES[level as number] ?? ''} ${name as string}: ${msg as string}${why}${details.join('')}\n`
}
