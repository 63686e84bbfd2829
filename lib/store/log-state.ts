/**
 * What must be known about own logs before the store may append to any of them: `logs.json` beside the store.
 * Durable, rewritten whole. `clean` is true only between a clean close and the next open.
 */
import { readFile } from 'node:fs/promises'
import { HyperparcelError } from '../base/errors.ts'
import { readFileIfPresent, writeFileDurable } from '../base/files.ts'
import { GroupCommit } from './group-commit.ts'

const FORMAT = 1

export type RetireReason =
  /** The process ended without closing the store. */
  | 'killed'
  /** So did the whole machine. */
  | 'power-cut'
  /** The store does not have what was recorded at the last close: it was rolled back. */
  | 'rolled-back'
  /** A peer proved to know more of the log than this device. */
  | 'peer-knows-more'
  /** What it was for does not exist any more. */
  | 'dropped'

export interface OwnLog {
  /** Hex. */
  key: string
  purpose: string
  /** Name inside the Corestore, random, never used twice. */
  name: string
  retired: RetireReason | null
  /** Blocks and hash of their tree (hex) at the last clean close. */
  length: number
  treeHash: string | null
}

interface Shape {
  format: number
  clean: boolean
  bootId: string
  logs: OwnLog[]
}

export class LogState {
  readonly #file: string
  readonly #writes: GroupCommit
  readonly bootId: string
  /** How the last user of the store left it; null when it was closed cleanly or never used. */
  readonly unclean: 'killed' | 'power-cut' | null
  logs: OwnLog[]
  clean = false

  private constructor(file: string, bootId: string, before: Shape | null) {
    this.#file = file
    this.#writes = new GroupCommit(() => this.#write())
    this.bootId = bootId
    this.logs = before?.logs ?? []
    this.unclean =
      before === null || before.clean ? null : before.bootId === bootId ? 'killed' : 'power-cut'
  }

  /** Reads the file. A damaged one counts as none: then no log is known as own, and new ones are started. */
  static async load(file: string): Promise<LogState> {
    const bootId = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')
    const raw = await readFileIfPresent(file)
    return new LogState(
      file,
      bootId.trim(),
      raw === null ? null : parse(raw.toString('utf8'), file)
    )
  }

  /** The log that may be appended to for a purpose. */
  current(purpose: string): OwnLog | undefined {
    return this.logs.find((log) => log.purpose === purpose && log.retired === null)
  }

  /** Durable on return. Concurrent calls share a write. */
  save(): Promise<void> {
    return this.#writes.commit()
  }

  #write(): Promise<void> {
    const shape: Shape = { format: FORMAT, clean: this.clean, bootId: this.bootId, logs: this.logs }
    return writeFileDurable(this.#file, JSON.stringify(shape, null, 1) + '\n')
  }
}

function parse(text: string, file: string): Shape | null {
  let shape: Shape
  try {
    shape = JSON.parse(text) as Shape
  } catch {
    return null
  }
  if (typeof shape !== 'object' || shape === null || !Array.isArray(shape.logs)) return null
  if (shape.format > FORMAT) {
    throw new HyperparcelError('FORMAT_TOO_NEW', `${file} was written by a newer Hyperparcel`, {
      hint: 'Update Hyperparcel on this device. Nothing was changed.'
    })
  }
  return shape.logs.every(isOwnLog) ? shape : null
}

function isOwnLog(log: Partial<OwnLog> | null): boolean {
  return /^[0-9a-f]{64}$/.test(log?.key ?? '') && typeof log?.purpose === 'string'
}
