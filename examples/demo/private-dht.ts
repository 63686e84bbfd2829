/** `hyperparcel dht`, as a process that runs as long as the demo. */
import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { HyperparcelError } from '../../lib/base/errors.ts'
import { PROGRAM } from './device.ts'

const ATTEMPTS = 10
const PORT_MIN = 20_000
const PORT_MAX = 30_000

export interface DhtPlace {
  /** The address that devices reach it by. */
  host?: string
  /** A program that starts it, with arguments. */
  through?: string[]
}

/** Returns its `host:port`. It is named in its arguments by the directory, for `clean-up.ts`. */
export async function startDht(
  directory: string,
  { host = '127.0.0.1', through = [] }: DhtPlace = {}
): Promise<string> {
  let said = ''
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const port = randomInt(PORT_MIN, PORT_MAX)
    const home = path.join(directory, 'dht')
    const options = ['--home', home, '--json', 'dht', '--host', host, '--port', String(port)]
    const [program, ...args] = [...through, process.execPath, PROGRAM, ...options]
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true
    })
    for await (const line of createInterface({ input: child.stdout })) {
      const answer = JSON.parse(line) as { bootstrap?: string; error?: { message: string } }
      if (answer.bootstrap !== undefined) {
        child.stdout.destroy()
        child.unref()
        return answer.bootstrap
      }
      said = answer.error?.message ?? line
    }
  }
  throw new HyperparcelError('DHT_FAILED', `The private DHT did not start: ${said}`)
}
