/**
 * Every error a user may see. One table maps its code to the exit code of the command-line contract;
 * `hyperparcel --help` and the README repeat that table.
 *
 * Errors are for the world (a missing image, a full disk, a peer that lies). Bugs are assertions.
 */

/** Exit codes of the command-line contract. */
export const EXIT = {
  DONE: 0,
  FAILED: 1,
  USAGE: 2,
  NOT_FOUND: 3,
  LEASE_HELD: 4,
  UNREACHABLE: 5,
  UNVERIFIED: 6,
  NEEDS_APPROVAL: 7,
  INTERRUPTED: 130
} as const

/** Code of an error → exit code of the command that ends with it. Codes not listed exit with 1. */
export const EXIT_OF_CODE: Readonly<Record<string, number>> = {
  USAGE: EXIT.USAGE,
  NAME_INVALID: EXIT.USAGE,
  CONFIG_UNKNOWN: EXIT.USAGE,
  PARCEL_NOT_FOUND: EXIT.NOT_FOUND,
  VERSION_NOT_FOUND: EXIT.NOT_FOUND,
  DEVICE_NOT_FOUND: EXIT.NOT_FOUND,
  VOLUME_NOT_FOUND: EXIT.NOT_FOUND,
  LEASE_HELD: EXIT.LEASE_HELD,
  LEASE_SUPERSEDED: EXIT.LEASE_HELD,
  DATA_UNREACHABLE: EXIT.UNREACHABLE,
  PEER_UNREACHABLE: EXIT.UNREACHABLE,
  DATA_CORRUPT: EXIT.UNVERIFIED,
  KEY_DAMAGED: EXIT.UNVERIFIED,
  FORMAT_INVALID: EXIT.UNVERIFIED,
  FORMAT_TOO_NEW: EXIT.UNVERIFIED,
  FORMAT_TOO_OLD: EXIT.UNVERIFIED,
  VMM_MISMATCH: EXIT.NEEDS_APPROVAL,
  CRASH_CHOICE: EXIT.NEEDS_APPROVAL,
  FORK: EXIT.NEEDS_APPROVAL,
  CONFIRM: EXIT.NEEDS_APPROVAL,
  INTERRUPTED: EXIT.INTERRUPTED
}

export interface ErrorOptions {
  /** What the user can do next, one sentence. */
  hint?: string
  /** The error beneath. */
  cause?: unknown
  /** Plain data that a program may want: names, sizes, holders. Never keys or plaintext. */
  context?: Record<string, unknown>
}

/** How an error crosses a socket or is printed with `--json`. */
export interface ErrorShape {
  code: string
  message: string
  hint?: string
  context?: Record<string, unknown>
}

/** The one error class. `code` is stable, `message` says what happened to which thing, `hint` what to do next. */
export class HyperparcelError extends Error {
  readonly code: string
  readonly hint: string | undefined
  readonly context: Record<string, unknown> | undefined

  constructor(code: string, message: string, opts: ErrorOptions = {}) {
    super(message, opts.cause === undefined ? undefined : { cause: opts.cause })
    this.name = 'HyperparcelError'
    this.code = code
    this.hint = opts.hint
    this.context = opts.context
  }

  get exitCode(): number {
    return EXIT_OF_CODE[this.code] ?? EXIT.FAILED
  }

  toJSON(): ErrorShape {
    const shape: ErrorShape = { code: this.code, message: this.message }
    if (this.hint !== undefined) shape.hint = this.hint
    if (this.context !== undefined) shape.context = this.context
    return shape
  }

  /** The inverse of `toJSON`, for the far side of a socket. */
  static fromJSON(shape: ErrorShape): HyperparcelError {
    return new HyperparcelError(shape.code, shape.message, {
      hint: shape.hint,
      context: shape.context
    })
  }

  /** Any thrown thing as one of ours: system errors keep their `code`, anything else becomes `INTERNAL`. */
  static from(err: unknown): HyperparcelError {
    if (err instanceof HyperparcelError) return err
    if (err instanceof Error) {
      const code = (err as NodeJS.ErrnoException).code
      if (code === 'ENOSPC') {
        return new HyperparcelError('DISK_FULL', 'There is no space left on the disk', {
          hint: 'Free some space and try again: nothing was lost.',
          cause: err
        })
      }
      return new HyperparcelError(typeof code === 'string' ? code : 'INTERNAL', err.message, {
        cause: err
      })
    }
    return new HyperparcelError('INTERNAL', String(err))
  }
}

/** A bug, not a fault of the world: stops the process unless somebody catches it on purpose. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`Assertion failed: ${message}`)
}
