/** The work in the guest, and how it looks from outside. */
import type { SerialConsole } from '../../examples/guest/serial-console.ts'
import { GENERATE, LOOK, loopScript, MAKEFILE, SECRET, type Work } from './scripts.ts'

/** A line that any shell's line editor takes. */
const PIECE_CHARS = 400
const SLOW_MS = 300_000
const POLL_MS = 500

export interface WorkSize {
  work: Work
  /** C files. */
  files: number
  /** Random data in RAM only. */
  secretMib: number
}

export interface GuestLook {
  tick: number
  bootId: string
  uptimeSeconds: number
  /** How far its clock is from ours. */
  clockOffSeconds: number
  builds: number
  /** Builds that differed from the first one, or failed. */
  wrong: number
  /** Files built. */
  pieces: number
  working: boolean
  writable: boolean
  secret: string
  /** Lines of the kernel's log. */
  complaints: string[]
}

export class GuestWork {
  readonly #console: SerialConsole

  constructor(console: SerialConsole) {
    this.#console = console
  }

  /** Rejects with `CONSOLE_TIMEOUT`. */
  async answers(timeoutMs: number): Promise<void> {
    await this.#console.ready(timeoutMs)
  }

  /** Starts the loop and waits for the end of the first build, which the others are compared with. */
  async begin(size: WorkSize): Promise<void> {
    await this.#run('mkdir -p /root/soak /run/soak')
    await this.#write('generate', GENERATE)
    await this.#write('loop', loopScript(size.work))
    await this.#write('look', LOOK)
    await this.#write('compile.mk', MAKEFILE)
    await this.#run(`dd if=/dev/urandom of=${SECRET} bs=1M count=${size.secretMib} 2>/dev/null`)
    await this.#run(`cd /root/soak && sh generate ${size.files} && sync`)
    await this.#run('cd /root/soak && (setsid sh loop </dev/null >out 2>&1 &)')
    const end = performance.now() + SLOW_MS
    while (
      Number((await this.#run('cut -d" " -f1 /run/soak/state 2>/dev/null; true')) || '0') < 1
    ) {
      if (performance.now() > end) throw new Error('the first build does not come to an end')
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    }
  }

  /** Waits until the counter is beyond `tick`, for some seconds at most. */
  async look(tick = 0): Promise<GuestLook> {
    return readLook(await this.#run(`cd /root/soak && sh look ${tick}`), Date.now())
  }

  close(): void {
    this.#console.close()
  }

  async #write(name: string, content: string): Promise<void> {
    const file = `/root/soak/${name}`
    const encoded = Buffer.from(content).toString('base64')
    await this.#run(`: > ${file}.base64`)
    for (let at = 0; at < encoded.length; at += PIECE_CHARS) {
      await this.#run(`echo ${encoded.slice(at, at + PIECE_CHARS)} >> ${file}.base64`)
    }
    await this.#run(`base64 -d ${file}.base64 > ${file} && rm ${file}.base64`)
  }

  #run(command: string): Promise<string> {
    return this.#console.run(command, { timeoutMs: SLOW_MS })
  }
}

/** What the script `look` said. */
export function readLook(said: string, nowMs: number): GuestLook {
  const values = new Map<string, string>()
  const complaints: string[] = []
  for (const line of said.split('\n')) {
    const space = line.indexOf(' ')
    const [name, value] = [line.slice(0, space), line.slice(space + 1)]
    if (name === 'complaint') complaints.push(value)
    else values.set(name, value)
  }
  const number = (name: string) => Number(values.get(name) ?? Number.NaN)
  return {
    tick: number('tick'),
    bootId: values.get('boot') ?? '',
    uptimeSeconds: number('uptime'),
    clockOffSeconds: Math.abs(nowMs / 1000 - number('clock')),
    builds: number('builds'),
    wrong: number('wrong'),
    pieces: number('pieces'),
    working: values.get('working') === 'yes',
    writable: values.get('writable') === 'yes',
    secret: values.get('secret') ?? '',
    complaints
  }
}

/** What got lost between two looks, as sentences; none when all is well. */
export function losses(before: GuestLook, after: GuestLook): string[] {
  const checks: [boolean, string][] = [
    [after.bootId === before.bootId, 'the guest was booted again'],
    [after.uptimeSeconds > before.uptimeSeconds, 'its uptime did not go on'],
    [after.tick > before.tick, 'its counter did not go on'],
    [/^[0-9a-f]{64}$/.test(before.secret), 'the secret in its RAM has no checksum'],
    [after.secret === before.secret, 'the secret in its RAM changed'],
    [after.builds >= before.builds && after.pieces >= before.pieces, 'built files got lost'],
    [after.working, 'its work has ended'],
    [after.writable, 'its disk cannot be written'],
    [after.wrong === before.wrong, `${after.wrong - before.wrong} builds went wrong`]
  ]
  const news = after.complaints.filter((line) => !before.complaints.includes(line))
  return [
    ...checks.filter(([good]) => !good).map(([, problem]) => problem),
    ...news.map((line) => `its kernel says: ${line}`)
  ]
}
