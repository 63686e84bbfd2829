/** The QEMU of this host: its version and machine types, asked once. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { HyperparcelError } from '../../base/errors.ts'

const run = promisify(execFile)
const ASK_TIMEOUT_MS = 10_000

export const QEMU = 'qemu-system-x86_64'
/** The first version whose behaviour was measured. */
export const QEMU_VERSION_MIN: readonly [number, number] = [7, 2]

export interface QemuHost {
  /** As it says it, for instance `7.2.22`. */
  version: string
  /** Versioned q35 machine types, newest first. */
  machineTypes: string[]
}

/** Rejects with `VMM_MISSING` where there is no QEMU, or only one that is too old. */
export async function askQemu(): Promise<QemuHost> {
  const [said, machines] = await Promise.all([ask('--version'), ask('-machine', 'help')])
  const version = /version (\d+\.\d+(?:\.\d+)?)/.exec(said)?.[1]
  if (version === undefined) throw missing(`${QEMU} does not tell its version`)
  const [major, minor] = version.split('.').map(Number) as [number, number]
  const [majorMin, minorMin] = QEMU_VERSION_MIN
  if (major < majorMin || (major === majorMin && minor < minorMin)) {
    throw missing(`QEMU ${version} is too old: at least ${majorMin}.${minorMin} is needed`)
  }
  return { version, machineTypes: parseMachineTypes(machines) }
}

/** The versioned q35 types in the output of `-machine help`, newest first. */
export function parseMachineTypes(help: string): string[] {
  const found = [...help.matchAll(/^(pc-q35-(\d+)\.(\d+))\s/gm)]
  found.sort((a, b) => Number(b[2]) - Number(a[2]) || Number(b[3]) - Number(a[3]))
  return found.map((match) => match[1])
}

async function ask(...args: string[]): Promise<string> {
  try {
    return (await run(QEMU, args, { timeout: ASK_TIMEOUT_MS, killSignal: 'SIGKILL' })).stdout
  } catch (err) {
    throw missing(`${QEMU} cannot be started: ${(err as Error).message}`, err)
  }
}

function missing(message: string, cause?: unknown): HyperparcelError {
  return new HyperparcelError('VMM_MISSING', message, {
    hint: 'Install QEMU: apt-get install qemu-system-x86',
    cause
  })
}
