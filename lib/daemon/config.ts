/** Settings of a device, `<home>/config.json`. Unknown keys of a newer release are kept. */
import { readFile } from 'node:fs/promises'
import * as v from 'valibot'
import { HyperparcelError } from '../base/errors.ts'
import { writeFileDurable } from '../base/files.ts'
import { isRate, parseRate, RATE_HINT } from '../base/rate.ts'
import type { LocalNetworkOptions } from '../net/network.ts'

const Settings = v.looseObject({
  /** `host:port` of DHT bootstrap nodes; absent for the public DHT. */
  bootstrap: v.optional(v.array(v.pipe(v.string(), v.regex(/^[^\s:]+:\d{1,5}$/)))),
  /** Look for peers on the local network. */
  lan: v.optional(v.boolean()),
  /** Only on these interfaces; absent for all that have a private address. */
  lan_interfaces: v.optional(v.array(v.pipe(v.string(), v.regex(/^[^\s,]{1,15}$/)))),
  /** What transfers in the background may take, in each direction. */
  down: v.optional(v.pipe(v.string(), v.check(isRate))),
  up: v.optional(v.pipe(v.string(), v.check(isRate))),
  /** Every byte costs: nothing in the background. */
  metered: v.optional(v.boolean()),
  /** Use sticks that are plugged in. */
  'lookaside-auto': v.optional(v.boolean()),
  /** Rehearse the resume of what was suspended here; absent for yes. */
  rehearsal: v.optional(v.boolean())
})

export type Settings = v.InferOutput<typeof Settings>

/** What the network needs to know; null where local networks are not wanted. No names: all that fit. */
export function localNetwork(
  settings: Readonly<Settings>,
  more: Omit<LocalNetworkOptions, 'interfaces'>
): LocalNetworkOptions | null {
  if (settings.lan === false) return null
  const { lan_interfaces: interfaces = [] } = settings
  return interfaces.length === 0 ? more : { ...more, interfaces }
}

/** What transfers may take. */
export function transferLimits({ down, up, metered }: Readonly<Settings>) {
  return {
    down: parseRate(down ?? 'unlimited'),
    up: parseRate(up ?? 'unlimited'),
    metered: metered ?? false
  }
}

export class Config {
  readonly #file: string
  readonly #settings: Settings = {}

  constructor(file: string) {
    this.#file = file
  }

  get settings(): Readonly<Settings> {
    return this.#settings
  }

  /** Rejects with `CONFIG_INVALID` for a file that is not ours. */
  async load(): Promise<void> {
    let text: string
    try {
      text = await readFile(this.#file, 'utf8')
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code === 'ENOENT') return
      throw err
    }
    try {
      Object.assign(this.#settings, v.parse(Settings, JSON.parse(text)))
    } catch (err) {
      throw new HyperparcelError('CONFIG_INVALID', `${this.#file} does not hold valid settings`, {
        hint: 'Correct it, or remove it to start with the defaults.',
        cause: err
      })
    }
  }

  /** Durable on return. Undefined values leave a setting as it is. */
  async set(change: Settings): Promise<void> {
    const next = { ...this.#settings }
    for (const [key, value] of Object.entries(change)) if (value !== undefined) next[key] = value
    if (JSON.stringify(next) === JSON.stringify(this.#settings)) return
    await writeFileDurable(this.#file, `${JSON.stringify(next, null, 2)}\n`)
    Object.assign(this.#settings, next) // whoever has it sees the change
  }

  /** One setting; null where it is not set. Throws `CONFIG_UNKNOWN`. */
  get(key: string): unknown {
    if (!Object.hasOwn(TEXT, key) && !Object.hasOwn(this.#settings, key)) throw unknown(key)
    return this.#settings[key] ?? null
  }

  /** One setting from the command line's text. */
  async setText(key: string, text: string): Promise<void> {
    const parse = Object.hasOwn(TEXT, key) ? TEXT[key] : undefined
    if (parse === undefined) throw unknown(key)
    const change = v.safeParse(Settings, { [key]: parse(text) })
    if (!change.success) {
      throw new HyperparcelError('USAGE', `${text} is no value for ${key}`, {
        hint: HINTS[key]
      })
    }
    await this.set(change.output)
  }
}

function unknown(key: string): HyperparcelError {
  return new HyperparcelError('CONFIG_UNKNOWN', `There is no setting ${key}`, {
    hint: `There are: ${Object.keys(TEXT).join(', ')}.`
  })
}

const YES_OR_NO = 'Write true or false.'

const HINTS: Record<string, string> = {
  bootstrap: 'Write HOST:PORT, several with commas between them.',
  lan: YES_OR_NO,
  lan_interfaces: 'Write names of interfaces, such as eth0, several with commas between them.',
  down: RATE_HINT,
  up: RATE_HINT,
  metered: YES_OR_NO,
  'lookaside-auto': YES_OR_NO,
  rehearsal: YES_OR_NO
}

const TEXT: Record<string, (text: string) => unknown> = {
  bootstrap: (text) => text.split(',').filter((part) => part !== ''),
  lan: yesOrNo,
  lan_interfaces: (text) => text.split(',').filter((part) => part !== ''),
  down: (text) => text,
  up: (text) => text,
  metered: yesOrNo,
  'lookaside-auto': yesOrNo,
  rehearsal: yesOrNo
}

function yesOrNo(text: string): unknown {
  return text === 'true' ? true : text === 'false' ? false : text
}
